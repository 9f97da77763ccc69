"""An image with its modalities, from files to what a predictor takes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from mmms_client.alignment import Alignment
from mmms_client.errors import AlignmentError, ImageReadError, ModalityError, UsageError
from mmms_client.inputs import open_inputs
from mmms_client.units import ValueRule


@pytest.fixture
def folder(tmp_path, image):
    Image.fromarray(image).save(tmp_path / "image.png")
    Image.fromarray(np.full((24, 32), 30000, np.uint16)).save(tmp_path / "thermal.png")
    depth = np.full((48, 64), 2500, np.uint16)
    depth[0, 0] = 0
    Image.fromarray(depth).save(tmp_path / "depth.png")
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / "square.png")
    return tmp_path


def test_modalities_arrive_in_the_models_unit(folder, contract, predictor) -> None:
    (folder / "modalities.json").write_text(json.dumps({"depth": {"unit": "mm", "invalid": 0}}))
    files = {"thermal": folder / "thermal.png", "depth": folder / "depth.png"}
    inputs = open_inputs(contract, folder / "image.png", files)
    assert inputs.modalities["depth"][5, 5] == pytest.approx(2.5) and np.isnan(inputs.modalities["depth"][0, 0])
    assert inputs.modalities["thermal"].shape == (24, 32)
    assert predictor.encode(inputs.image, inputs.modalities).present == ("thermal", "depth")


def test_renaming_and_options_by_either_name(folder, contract) -> None:
    files = {"lwir": folder / "thermal.png", "tof": folder / "depth.png"}
    names = {"lwir": "thermal", "tof": "depth"}
    for name in ("tof", "depth"):
        inputs = open_inputs(
            contract,
            folder / "image.png",
            files,
            rename=names,
            scales={name: ValueRule(0.001)},
            alignments={name: Alignment()},
        )
        assert sorted(inputs.modalities) == ["depth", "thermal"] and sorted(inputs.alignments) == ["depth"]
    inputs = open_inputs(contract, folder / "image.png", files, rename=names, select=["thermal"])
    assert sorted(inputs.modality_paths) == ["thermal"]


def test_unknown_modality(folder, contract) -> None:
    files = {"infrared": folder / "thermal.png"}
    with pytest.raises(ModalityError) as caught:
        open_inputs(contract, folder / "image.png", files)
    assert str(caught.value) == (
        "Expected a modality of the model (thermal, depth, event) but got 'infrared'; rename it with --map "
        "infrared=MODEL_NAME or leave it out with --modalities."
    )
    assert not open_inputs(contract, folder / "image.png", files, select=[]).modalities


def test_missing_modality(folder, contract) -> None:
    with pytest.raises(ModalityError) as caught:
        open_inputs(contract, folder / "image.png", {"thermal": folder / "thermal.png"}, select=["thermal", "depth"])
    assert str(caught.value) == (
        "Expected a file for modality 'depth' because --modalities selects it but got only thermal; add "
        "--modality depth=PATH or take it out of --modalities."
    )
    with pytest.raises(ImageReadError, match=r"Expected the file '.*none\.png' but got 'No such file'"):
        open_inputs(contract, folder / "image.png", {"thermal": folder / "none.png"})


def test_unit_unknown(folder, contract) -> None:
    with pytest.raises(
        ModalityError, match="because the model wants 'depth' in m but got none; say it with --scale depth="
    ):
        open_inputs(contract, folder / "image.png", {"depth": folder / "depth.png"})


def test_other_aspect_ratio(folder, contract) -> None:
    files = {"thermal": folder / "square.png"}
    with pytest.raises(
        AlignmentError, match=r"of its image \(64x48 px\) but got 40x40 px; register it first, or say how"
    ):
        open_inputs(contract, folder / "image.png", files)
    inputs = open_inputs(contract, folder / "image.png", files, alignments={"thermal": Alignment()})
    assert inputs.modalities["thermal"].shape[1] / inputs.modalities["thermal"].shape[0] == pytest.approx(
        4 / 3, abs=0.02
    )


def test_options_for_nothing_and_two_files_for_one_name(folder, contract) -> None:
    with pytest.raises(UsageError) as caught:
        open_inputs(contract, folder / "image.png", {}, scales={"depth": ValueRule()})
    assert str(caught.value) == (
        "Expected --scale for a modality that is given (none) but got 'depth'; add --modality depth=PATH or "
        "drop the option."
    )
    files = {"thermal": folder / "thermal.png", "lwir": folder / "thermal.png"}
    with pytest.raises(
        UsageError, match="Expected one file for modality 'thermal' but got 'thermal' and 'lwir'; drop one"
    ):
        open_inputs(contract, folder / "image.png", files, rename={"lwir": "thermal"})


def test_a_turned_image_with_an_unturned_modality_is_pointed_out(folder, contract, image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(image).save(folder / "image.jpg", exif=exif)
    inputs = open_inputs(contract, folder / "image.jpg", {"thermal": folder / "thermal.png"})
    assert any("was turned by its EXIF data but" in note for note in inputs.notes)
