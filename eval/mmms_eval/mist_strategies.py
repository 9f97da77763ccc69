"""Which surface the simulated annotator of MIST refines next.

``best``, ``worst`` and ``random`` are the three of the DynaMITe paper (section 4); ``worst-with-limit`` and
``round-robin`` follow the description of its reference code, with these decisions: a tie goes to the lowest
id; the limit of clicks on one surface is ``clicks_per_surface`` for both (10 by default, as there); the
initial click counts towards the limit of ``worst-with-limit``, and not towards a run of ``round-robin``.
``max-dt`` picks no surface at all and is not in here: see :mod:`mmms_eval.mist`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import takewhile

from mmms_eval.protocol import MistStrategy


def order_of_choice(
    strategy: MistStrategy, open_ious: Mapping[int, float], refined: Sequence[int], limit: int, rng: random.Random
) -> list[int]:
    """The surfaces below the IoU goal, first choice first.

    - ``best``: the highest IoU first.
    - ``worst``: the lowest IoU first.
    - ``random``: shuffled anew for each click.
    - ``worst-with-limit``: the lowest IoU first among those with fewer than ``limit`` clicks spent on them;
      after these the highest IoU first.
    - ``round-robin``: the surface of the last click again, until it is done or had ``limit`` clicks in a row;
      then any other one, shuffled.

    Args:
        strategy: any but ``max-dt``.
        open_ious: current IoU in [0, 1] by surface id, only of the surfaces below the goal.
        refined: the surface that each click was to refine, in time order, without the initial clicks.
        limit: clicks on one surface, for the two strategies that have a limit.
        rng: what ``random`` and ``round-robin`` draw from; one number per open surface and call.
    """
    lowest_first = sorted(open_ious, key=lambda i: (open_ious[i], i))
    highest_first = sorted(open_ious, key=lambda i: (-open_ious[i], i))
    if strategy == "worst":
        return lowest_first
    if strategy == "best":
        return highest_first
    if strategy == "worst-with-limit":
        within = [i for i in lowest_first if 1 + refined.count(i) < limit]
        return within + [i for i in highest_first if i not in within]
    shuffled = sorted(sorted(open_ious), key=lambda _: rng.random())
    if strategy == "random":
        return shuffled
    if strategy == "round-robin":
        return _current_first(shuffled, refined, limit)
    raise ValueError(f"Expected a strategy that picks a surface but got {strategy!r}.")


def _current_first(shuffled: Sequence[int], refined: Sequence[int], limit: int) -> list[int]:
    current = refined[-1] if refined else None
    in_a_row = sum(1 for _ in takewhile(lambda i: i == current, reversed(refined)))
    own, others = [i for i in shuffled if i == current], [i for i in shuffled if i != current]
    return own + others if in_a_row < limit else others + own
