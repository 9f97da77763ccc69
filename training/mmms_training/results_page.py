"""``docs/results.md``: the stored numbers as text. Nothing here computes, and nothing in the page was typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmms_client.errors import DataError
from mmms_client.json_text import read_json
from mmms_training.results import ABLATED, CLAIM_FILE, METRICS, REAL_FILE, WHOLE

_TITLES = {
    "rgb": "RGB alone",
    "thermal": "+ thermal",
    "depth": "+ depth",
    "thermal+depth": "+ thermal + depth",
    "control-other-scene": "control: thermal and depth of another scene",
    "control-grey": "control: grey RGB as thermal and depth",
    "effca-only": "+ thermal + depth, EffCA without MLP",
    "mlp-only": "+ thermal + depth, MLP without EffCA",
    "neither": "+ thermal + depth, neither",
}
_ABLATION = (*ABLATED, WHOLE)
_SENSORS = ("rgb", "thermal", "depth", "thermal+depth")
_CONTROLS = ("control-other-scene", "control-grey")
NOT_MEASURED = "Not measured yet."
Row = Mapping[str, Any]


def results_page(folder: Path) -> str:
    """The page for the numbers in ``folder``. Raises :class:`DataError` for a file that is broken."""
    claim, real = (_read(folder / name) for name in (CLAIM_FILE, REAL_FILE))
    lines = [
        "# Results",
        "",
        "Written by `mmms-train results` from `docs/results/*.json`; [training.md](training.md) has the commands that",
        "make those. Clicks are simulated as in [protocol.md](protocol.md). A gain is what the other needs minus what",
        "ours needs, on the same images: above 0, ours needs fewer clicks. Brackets hold the 95 % interval of a paired",
        "bootstrap over images.",
        "",
        "## Do sensors save clicks?",
        "",
        *(_claim(claim) if claim else [NOT_MEASURED]),
        "",
        "## Real images",
        "",
        *(_real(real) if real else [NOT_MEASURED]),
    ]
    return "\n".join(lines) + "\n"


def _claim(claim: Row) -> list[str]:
    # what only some seeds were measured at would stand beside the others as if it were comparable
    rows = {(row["network"], row["share"]): row for row in claim["rows"] if row["seeds"] == claim["seeds"]}
    share = claim["trained_share"]
    lines = [_how(claim), "", *_command(claim), f"### {share} % of borders invisible in RGB", ""]
    lines += _table(
        ["network", *METRICS, "surfaces"],
        [
            [*_mean_row(rows[name, share]), str(rows[name, share]["surfaces"])]
            for name in (*_SENSORS, *_CONTROLS)
            if (name, share) in rows
        ],
    )
    lines += ["", "Gain over RGB alone, seeds pooled; in parentheses the gain of each seed:", ""]
    lines += _table(
        ["network", *METRICS],
        [_gain_row(rows[name, share]) for name in (*_SENSORS, *_CONTROLS) if "gain" in rows.get((name, share), {})],
    )
    lines += ["", *_verdicts(rows, share), *_missing(rows, share)]
    shares = sorted({s for _, s in rows})
    what = "Gain in NoC@90 and NoCMS over RGB alone:" if len(shares) > 1 else NOT_MEASURED
    lines += ["", "### Other shares of invisible borders", "", what, ""]
    for metric in ("NoC@90", "NoCMS@(80,70)") if len(shares) > 1 else ():
        body = [
            [_TITLES[name], *(_gain(rows.get((name, s)), metric) for s in shares)] for name in _SENSORS if name != "rgb"
        ]
        lines += _table([metric, *(f"{s} %" for s in shares)], [row for row in body if any(c != "-" for c in row[1:])])
        lines.append("")
    return [*lines, "### Ablation of the CrossBlock", "", *_ablation(rows, share)]


def _ablation(rows: Mapping[tuple[str, int], Row], share: int) -> list[str]:
    ablated = [rows[name, share] for name in _ABLATION if (name, share) in rows]
    if len(ablated) < 2:
        return [NOT_MEASURED]
    lines = _table(["network", *METRICS], [_mean_row(row) for row in ablated])
    lines += ["", "Gain over RGB alone, as above:", ""]
    lines += _table(["network", *METRICS], [_gain_row(row) for row in ablated if "gain" in row])
    left = [row for row in ablated if "gain_of_whole" in row]
    if left:
        body = [[_TITLES[row["network"]], *(_interval(row["gain_of_whole"][m]) for m in METRICS)] for row in left]
        lines += ["", "What the whole CrossBlock saves against what is left of it:", ""]
        lines += _table(["against", *METRICS], body)
    return lines


def _verdicts(rows: Mapping[tuple[str, int], Row], share: int) -> list[str]:
    """What was asked for before training, and whether it came out."""
    lines = []
    gains = [rows[n, share]["gain"] for n in _SENSORS if "gain" in rows.get((n, share), {})]
    if gains:
        best = max(max(g["NoC@90"]["gain"], g["NoCMS@(80,70)"]["gain"]) for g in gains)
        came = "reached" if best >= 1.2 else "not reached"
        lines.append(f"- The best gain in NoC@90 or NoCMS is {best:.2f} clicks; 1.2 were asked for: {came}.")
    for name in _CONTROLS:
        gain = rows.get((name, share), {}).get("gain")
        if gain:
            told = [m for m in METRICS if not gain[m]["low"] <= 0 <= gain[m]["high"]]
            found = f"differs from zero in {', '.join(told)}" if told else "is not distinguishable from zero"
            lines.append(f"- {_TITLES[name][0].upper()}{_TITLES[name][1:]}: the gain {found}.")
    return lines


def _missing(rows: Mapping[tuple[str, int], Row], share: int) -> list[str]:
    missing = [_TITLES[name] for name in (*_SENSORS, *_CONTROLS) if (name, share) not in rows]
    return [f"- Not measured yet: {'; '.join(missing)}."] if missing else []


def _how(claim: Row) -> str:
    first = claim["rows"][0]
    settings = claim.get("settings", {})
    text = f"Seeds {', '.join(map(str, claim['seeds']))}; {first['images']} held-out scenes per measurement"
    if settings:
        text += (
            f"; {claim['images_per_network']} images per network with {settings['surfaces_per_image']} click sequences "
            f"each, at {settings['resolution']} px, all from the same RGB network per seed"
        )
    if "images_of_base" in claim:
        start = claim["base_began_with"]
        began = f"with backbone, ParallelFPN and CSNet of `{start}`" if start else "from nothing"
        text += f", which began {began} and was shown {claim['images_of_base']} images"
    if settings.get("is_backbone_frozen"):
        text += "; the backbone is frozen"
    return text + "."


def _command(claim: Row) -> list[str]:
    return ["```", claim["command"], "mmms-train results --claim build/claim", "```", ""] if "command" in claim else []


def _real(real: Row) -> list[str]:
    rows = real["rows"]
    ours = rows[0]["method"]
    after = sorted(rows[0]["iou_after"], key=int)
    folders = ", ".join(f"{count} of {name}" for name, count in sorted(real["folders"].items()))
    lines = [
        f"{rows[0]['images']} images ({folders}), {rows[0]['surfaces']} surfaces of at least "
        f"{real['smallest_area_px']} px, all methods at {real['resolution']} px; checkpoint sha256 "
        f"{real['checkpoint_sha256'][:12]}.",
        "",
        "```",
        "mmms-train real --root FOLDER --checkpoint CHECKPOINT --out build/real    # --scale: the unit of a sensor",
        "mmms-train results --real build/real",
        "```",
        "",
    ]
    lines += _table(
        ["method", "NoC@80", "NoC@90", *(f"mean IoU after {k}" for k in after)],
        [
            [
                row["method"],
                *(f"{row['mean'][m]:.2f}" for m in ("NoC@80", "NoC@90")),
                *(f"{100 * row['iou_after'][k]:.1f} %" for k in after),
            ]
            for row in rows
        ],
    )
    lines += ["", *(_seen(row) for row in rows if row["images_with_sensors"])]
    lines += ["", f"Clicks that `{ours}` saves against each:", ""]
    lines += _table(
        ["against", "NoC@80", "NoC@90"],
        [[row["method"], *(_gain(row, m) for m in ("NoC@80", "NoC@90"))] for row in rows if "gain" in row],
    )
    best = min((row for row in rows if row["is_classical"]), key=lambda row: row["mean"]["NoC@80"], default=None)
    if best is not None:
        change = 100 * (1 - rows[0]["mean"]["NoC@80"] / best["mean"]["NoC@80"])
        lines += ["", f"NoC@80 is {abs(change):.1f} % {'below' if change >= 0 else 'above'} that of {best['method']}."]
    tuning = real["tuning"]
    lines += ["", f"Settings were chosen by NoC@80 on {tuning['asked']['scenes']} synthetic scenes:", ""]
    tried = [[method, said, f"{noc:.2f}"] for method, all_ in tuning["tried"].items() for said, noc in all_.items()]
    return [*lines, *_table(["method", "setting", "NoC@80"], tried)]


def _seen(row: Row) -> str:
    return f"`{row['method']}`: {row['images_with_sensors']} of the {row['images']} images have a sensor beside RGB."


def _mean_row(row: Row) -> list[str]:
    return [_TITLES[row["network"]], *(f"{row['mean'][metric]:.2f}" for metric in METRICS)]


def _gain_row(row: Row) -> list[str]:
    cells = []
    for metric in METRICS:
        seeds = ", ".join(f"{gains[metric]:+.2f}" for gains in row["gain_by_seed"].values())
        cells.append(f"{_gain(row, metric)} ({seeds})")
    return [_TITLES[row["network"]], *cells]


def _gain(row: Row | None, metric: str) -> str:
    if row is None or "gain" not in row:
        return "-"
    return _interval(row["gain"][metric])


def _interval(gain: Mapping[str, float]) -> str:
    return f"{gain['gain']:+.2f} [{gain['low']:+.2f}, {gain['high']:+.2f}]"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *rows)]


def _read(file: Path) -> Row | None:
    if not file.is_file():
        return None
    try:
        numbers: Row = read_json(file)
        if not isinstance(numbers, dict):
            raise ValueError("no object")
    except (OSError, ValueError) as error:
        raise DataError(f"Expected JSON in {str(file)!r} but got {str(error)!r}; make it again.") from error
    return numbers
