"""docs/contract.md says what contract.py decides."""

from __future__ import annotations

import re
from pathlib import Path

from mmms_client.contract import KNOWN_MODALITIES, ModelContract
from mmms_training.model.mmms import backbone_shapes, pyramid_shapes
from mmms_training.presets import preset

PAGE = (Path(__file__).parents[2] / "docs" / "contract.md").read_text()


def rows() -> dict[str, list[str]]:
    """Cells of every table row by each `name` in its first cell."""
    found: dict[str, list[str]] = {}
    for line in PAGE.splitlines():
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) == 4:
            for name in re.findall(r"`(\w+)`", cells[0]):
                found[name] = cells
    return found


def test_every_tensor_is_documented_with_its_dtype_and_rank() -> None:
    config = preset("nano")
    contract = ModelContract(
        "nano", "", "", 448, config.modalities, backbone_shapes(config, 448), pyramid_shapes(config, 448)
    )
    documented = rows()
    for model in contract.models().values():
        for tensor in (*model.inputs, *model.outputs):
            if tensor.name in contract.modality_names:
                continue
            name = "F1" if tensor.name in ("F2", "F3") else tensor.name
            _, dtype, shape, _ = documented[name]
            assert dtype == tensor.dtype, tensor.name
            assert shape.count(",") == len(tensor.shape), tensor.name


def test_every_modality_is_documented_with_channels_scaling_and_unit() -> None:
    documented = rows()
    for name, known in KNOWN_MODALITIES.items():
        spec = known.spec
        _, channels, scaling, unit = documented[name]
        nearest = ", nearest" if spec.resampling == "nearest" else ""
        assert channels == str(spec.channels)
        assert scaling == f"{spec.scaling} {spec.minimum:g} to {spec.maximum:g}{nearest}"
        assert unit == (spec.unit or "-")
