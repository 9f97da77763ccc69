"""Numbers of the MMMS paper (arXiv 2509.12963), to be read beside ours.

Only rows whose modalities are certain: the paper's tables mark them in columns, and of single modalities other
than the best one we could not tell two apart (lidar and event of DeLiVER, AoLP and near infrared of MCubeS).
All rows are N_max = 20 and NoCMS and FRMS at (80, 70), at 448 x 448 px.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SOURCE = "arXiv 2509.12963"
COLUMNS = ("NoC@60", "NoC@70", "NoC@80", "NoC@90", "NoCMS@(80,70)", "FRMS %")
RESPONSE = (
    f"{SOURCE}, section V and Table V: 12 ms per click on a V100 over 30 clicks, 42 ms with the encode spread over "
    "the clicks (MFNet), 206 ms on a Xeon E5-2697 v4"
)
N_MAX, NOCMS = 20, (0.80, 0.70)


@dataclass(frozen=True)
class PublishedRow:
    """One row of a table: backbone, modalities by our names, and numbers by column; a missing one was not given."""

    backbone: str
    modalities: tuple[str, ...]
    numbers: Mapping[str, float]

    @property
    def name(self) -> str:
        return f"{self.backbone}, " + (" + ".join(("RGB", *self.modalities)) if self.modalities else "RGB alone")


@dataclass(frozen=True)
class PublishedTable:
    """A table of the paper."""

    dataset: str  # our name of it
    table: str
    columns: tuple[str, ...]
    rows: tuple[PublishedRow, ...]

    @property
    def source(self) -> str:
        return f"{SOURCE}, {self.table}"


def reading_notes(dataset: Mapping[str, object], n_max: int, nocms: tuple[float, float]) -> list[str]:
    """Why our numbers of this data set, as the results describe it, are not the paper's quantities."""
    notes = []
    images, published = dataset.get("images"), dataset.get("images_published")
    if published is not None and images != published:
        notes.append(f"{images} images here, {published} in the published split")
    if n_max != N_MAX:
        notes.append(f"N_max {n_max} here, {N_MAX} in the paper")
    if nocms != NOCMS:
        notes.append("NoCMS here at other thresholds than (80,70)")
    return notes


def published_table(dataset_name: object) -> PublishedTable | None:
    """The paper's table of a data set by our name of it, if the paper has one."""
    return _TABLES.get(dataset_name) if isinstance(dataset_name, str) else None


def _table(
    dataset: str, table: str, columns: tuple[str, ...], rows: Sequence[tuple[str, str, tuple[float, ...]]]
) -> PublishedTable:
    return PublishedTable(
        dataset,
        table,
        columns,
        tuple(
            PublishedRow(backbone, tuple(names.split()), dict(zip(columns, numbers, strict=True)))
            for backbone, names, numbers in rows
        ),
    )


_SHORT = ("NoC@80", "NoC@90", "NoCMS@(80,70)")
_POLARISED = "aolp dolp nir"
_TABLES = {
    table.dataset: table
    for table in (
        _table(
            "deliver",
            "Table I",
            COLUMNS,
            (
                ("DINOv2-B14", "", (10.92, 13.05, 15.10, 16.99, 15.58, 66.43)),
                ("DINOv2-B14", "depth", (9.83, 11.68, 13.80, 16.07, 14.55, 60.89)),
                ("DINOv2-B14", "lidar event", (10.77, 12.88, 14.99, 16.90, 15.46, 65.18)),
                ("DINOv2-B14", "depth event", (9.78, 11.68, 13.80, 16.08, 14.50, 60.19)),
                ("DINOv2-B14", "depth lidar", (9.82, 11.68, 13.82, 16.10, 14.59, 61.24)),
                ("DINOv2-B14", "depth lidar event", (9.79, 11.73, 13.82, 16.09, 14.59, 61.06)),
                ("MAE-B16", "", (11.88, 13.87, 15.68, 17.33, 16.11, 69.50)),
                ("MAE-B16", "depth", (10.16, 11.97, 13.96, 16.13, 14.72, 61.85)),
                ("SAM-B16", "", (11.63, 13.59, 15.47, 17.19, 15.93, 68.39)),
                ("SAM-B16", "depth", (10.11, 11.89, 13.94, 16.14, 14.67, 61.61)),
                ("I-JEPA-H16", "", (11.97, 14.05, 15.89, 17.48, 16.34, 68.86)),
                ("I-JEPA-H16", "depth", (10.31, 12.07, 14.01, 16.20, 14.85, 62.15)),
            ),
        ),
        _table(
            "mfnet",
            "Table II",
            _SHORT,
            (
                ("DINOv2-B14", "", (10.05, 15.37, 11.30)),
                ("DINOv2-B14", "thermal", (8.66, 14.88, 9.88)),
                ("MAE-B16", "", (11.28, 16.14, 12.40)),
                ("MAE-B16", "thermal", (9.39, 15.38, 10.58)),
                ("SAM-B16", "", (11.01, 15.93, 12.30)),
                ("SAM-B16", "thermal", (9.26, 15.31, 10.91)),
                ("I-JEPA-H16", "", (12.06, 16.81, 13.45)),
                ("I-JEPA-H16", "thermal", (9.79, 15.62, 11.35)),
            ),
        ),
        _table(
            "fmb",
            "Table VIII",
            _SHORT,
            (
                ("DINOv2-B14", "", (7.86, 12.97, 8.28)),
                ("DINOv2-B14", "thermal", (7.07, 11.92, 7.37)),
                ("MAE-B16", "", (8.46, 14.00, 8.98)),
                ("MAE-B16", "thermal", (7.56, 12.64, 8.12)),
                ("SAM-B16", "", (8.35, 13.80, 8.89)),
                ("SAM-B16", "thermal", (7.55, 12.53, 8.08)),
                ("I-JEPA-H16", "", (9.02, 14.52, 9.80)),
                ("I-JEPA-H16", "thermal", (7.72, 12.95, 8.30)),
            ),
        ),
        _table(
            "mcubes",
            "Table IX",
            COLUMNS,
            (
                ("DINOv2-B14", "", (11.94, 14.09, 16.29, 18.35, 16.77, 65.15)),
                ("DINOv2-B14", "dolp", (11.14, 13.38, 15.66, 17.93, 16.31, 62.93)),
                ("DINOv2-B14", _POLARISED, (10.80, 13.12, 15.47, 17.79, 16.13, 61.98)),
                ("MAE-B16", "", (12.84, 15.02, 17.01, 18.66, 17.36, 69.28)),
                ("MAE-B16", _POLARISED, (11.14, 13.27, 15.63, 17.83, 16.18, 63.57)),
                ("SAM-B16", "", (12.60, 14.72, 16.87, 18.65, 17.21, 68.01)),
                ("SAM-B16", _POLARISED, (11.05, 13.38, 15.61, 17.89, 16.30, 62.93)),
                ("I-JEPA-H16", "", (13.33, 15.57, 17.41, 18.84, 17.68, 70.95)),
                ("I-JEPA-H16", _POLARISED, (11.24, 13.39, 15.65, 17.90, 16.29, 61.90)),
            ),
        ),
    )
}
