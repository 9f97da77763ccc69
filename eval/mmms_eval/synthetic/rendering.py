"""From the description of a scene to all of its maps: ``render_scene``."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from mmms_eval.synthetic.camera import Optics, sample_conditions, take_picture
from mmms_eval.synthetic.scene import F32, MODALITIES, Scene, SceneConfig
from mmms_eval.synthetic.scene_types import sample_layout
from mmms_eval.synthetic.sensors import (
    Ranging,
    Warmth,
    event_picture,
    hha_picture,
    lidar_picture,
    nir_picture,
    polarisation,
)
from mmms_eval.synthetic.visibility import choose_roles, in_sight, label_map, top_map

_DEFAULT = SceneConfig()

# One stream of random numbers per purpose, so that leaving a map out changes no other
_STREAMS = ("layout", "labels", "roles", "conditions", "optics", "camera", "ranging", "warmth",
            "depth", "thermal", "nir", "event", "lidar", "hha", "polarisation")  # fmt: skip


def render_scene(
    seed: int,
    config: SceneConfig = _DEFAULT,
    modalities: Collection[str] | None = None,
) -> Scene:
    """Draws scene number ``seed``: the same seed and configuration always give the same bytes.

    ``modalities`` names the maps to render (``None``: all of :data:`MODALITIES`). Leaving some out saves time
    and changes nothing else.
    Raises ``ValueError`` for a name that is not a modality.
    """
    wanted = set(MODALITIES if modalities is None else modalities)
    if unknown := sorted(wanted - set(MODALITIES)):
        raise ValueError(f"Expected modalities out of {', '.join(MODALITIES)} but got {', '.join(unknown)}")
    rngs = {name: np.random.default_rng([seed, k]) for k, name in enumerate(_STREAMS)}
    hw = config.size_hw
    scene_type, layout = sample_layout(rngs["layout"], config)
    objects = in_sight(layout.objects, top_map(layout.objects, hw, [True] * len(layout.objects)))
    top = top_map(objects, hw, [True] * len(objects))
    unlabelled = ""
    if rngs["labels"].uniform() < config.unlabelled_probability:
        unlabelled = objects[int(rngs["labels"].integers(len(objects)))].surface
    labels, names = label_map(objects, top, unlabelled, config)
    roles, borders = choose_roles(rngs["roles"], objects, top, labels, config)

    conditions = sample_conditions(rngs["conditions"], config, scene_type)
    ranging = Ranging(layout, rngs["ranging"])
    optics = Optics(layout, conditions, config, rngs["optics"], borders.rgb_top, wanted)
    warmth = Warmth(layout, conditions, rngs["warmth"]) if "thermal" in wanted else None
    for k, (made, role) in enumerate(zip(objects, roles, strict=True)):
        distance = ranging.paint(made, role)
        if role.rgb:
            optics.paint(k, made, distance)
        if warmth is not None and role.thermal:
            warmth.paint(made, must_differ=not role.rgb or not role.depth)

    image, light = take_picture(optics, conditions, rngs["camera"])
    maps: dict[str, F32] = {}
    if warmth is not None:
        maps["thermal"] = warmth.picture(rngs["thermal"])
    if wanted & {"depth", "hha"}:
        depth = ranging.picture(rngs["depth"])
        maps["depth"] = depth
        if "hha" in wanted:
            maps["hha"] = hha_picture(depth, layout)
    if "nir" in wanted:
        maps["nir"] = nir_picture(optics, light, rngs["nir"])
    if "event" in wanted:
        maps["event"] = event_picture(optics, light, rngs["event"])
    if "lidar" in wanted:
        maps["lidar"] = lidar_picture(ranging.distance, rngs["lidar"])
    if wanted & {"aolp", "dolp"}:
        maps["aolp"], maps["dolp"] = polarisation(optics, rngs["polarisation"])
    return Scene(
        image=image,
        modalities={name: maps[name] for name in MODALITIES if name in wanted},
        labels=labels,
        names=names,
        seed=seed,
        scene_type=scene_type,
        borders=borders.all,
        invisible_borders=borders.invisible,
        modality_blind_borders=borders.blind,
        border_share_invisible=borders.share_invisible,
        border_share_modality_blind=borders.share_blind,
    )
