"""Every row of the paper as a command: four backbones on four multi-modal data sets with every set of their sensors,
RGB alone on COCO+LVIS, and the ablation of the CrossBlock (Table VII).

The paper's tables mark sensors in columns; here are all subsets of each data set's sensors, so theirs are among them.
DeLiVER's depth is read as HHA, as the reference loaders do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

PRESETS = ("mmms_dinov2_b14", "mmms_mae_b16", "mmms_sam_b16", "mmms_ijepa_h16")
SENSORS = {
    "deliver": ("hha", "lidar", "event"),
    "mfnet": ("thermal",),
    "fmb": ("thermal",),
    "mcubes": ("aolp", "dolp", "nir"),
    "coco_lvis": (),
}
ABLATION = ((False, False), (True, False), (False, True), (True, True))  # EffCA, MLP


@dataclass(frozen=True)
class PaperRow:
    """One row: arguments of ``mmms-train``."""

    table: str
    arguments: tuple[str, ...]

    @property
    def command(self) -> str:
        return " ".join(("mmms-train", *self.arguments))


def paper_rows() -> Iterator[PaperRow]:
    """All rows, in the order of the page."""
    for dataset, sensors in SENSORS.items():
        for chosen in _subsets(sensors):
            for preset in PRESETS:
                yield PaperRow(dataset, _arguments(preset, dataset, chosen))
    for has_effca, has_mlp in ABLATION:
        name = f"ablation{'-effca' if has_effca else ''}{'-mlp' if has_mlp else ''}"
        switches = ("--set", f"has_effca={str(has_effca).lower()}", "--set", f"has_mlp={str(has_mlp).lower()}")
        yield PaperRow("ablation", (*_arguments(PRESETS[0], "mfnet", ("thermal",), name), *switches))


def _arguments(preset: str, dataset: str, sensors: tuple[str, ...], name: str = "") -> tuple[str, ...]:
    names = ",".join(sensors) or "none"
    run = name or f"{preset.removeprefix('mmms_')}-{dataset}-{'-'.join(sensors) or 'rgb'}"
    return ("--preset", preset, "--dataset", dataset, "--modalities", names, "--out", f"build/paper/{run}")


def _subsets(sensors: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for count in range(len(sensors) + 1):
        yield from combinations(sensors, count)


def rows_page() -> str:
    """``docs/paper-rows.md``."""
    lines = [
        "# The paper's rows as commands",
        "",
        "Written by `mmms-train paper-rows`. Each reads its data set below `$MMMS_DATA` (or `--root FOLDER`) and its",
        "backbone by public name from the hub (or `--backbone-weights FOLDER`), trains with the paper's recipe, which",
        "is the default, and resumes when it is run again. Then `mmms-export --checkpoint",
        "build/paper/NAME/checkpoint.safetensors --out build/NAME`, serve that, and `mmms-client bench --dataset ...`.",
        "Several GPUs: `torchrun --nproc-per-node N -m mmms_training` in the place of `mmms-train`.",
    ]
    table = ""
    for row in paper_rows():
        if row.table != table:
            lines += [*(["```"] if table else []), "", f"## {_TITLES[row.table]}", "", "```"]
            table = row.table
        lines.append(row.command)
    return "\n".join([*lines, "```"]) + "\n"


_TITLES = {
    "deliver": "DeLiVER",
    "mfnet": "MFNet",
    "fmb": "FMB",
    "mcubes": "MCubeS",
    "coco_lvis": "RGB alone, on COCO+LVIS",
    "ablation": "Ablation of the CrossBlock, on MFNet",
}
