"""What a run trains on: any data set, controls, cuts in which everything moves together, and bad data."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmms_client.contract import KNOWN_MODALITIES
from mmms_client.errors import DataError, UsageError
from mmms_client.geometry import Frame, scale_modality
from mmms_eval.datasets import DATASETS, DatasetOptions, Sample
from mmms_eval.datasets.controls import ControlledDataset, in_unit
from mmms_eval.synthetic import write_layout
from mmms_eval.synthetic.layouts import LayoutName
from mmms_training.augmentation import labels_to_network, random_region
from mmms_training.cli import cli
from mmms_training.config import TrainConfig, network_of, override, read_recipe
from mmms_training.data import TrainingSamples
from mmms_training.loop import Trainer
from mmms_training.sources import DatasetSource, open_source, open_validation

SIDE = 64
SETTINGS = [
    f"resolution={SIDE}", "scene_px=64", "batch_size=2", "surfaces_per_image=1", "steps=2", "workers=0",
    "is_bf16=false", "min_area_px=8", "log_every=1", "feature_steps=0", "pictures_every=1",
]  # fmt: skip


def config_of(*more: str) -> TrainConfig:
    return override(TrainConfig(), [*read_recipe("nano"), *SETTINGS, *more])


def samples_of(config: TrainConfig) -> TrainingSamples:
    specs = network_of(config).modalities
    return TrainingSamples(config, specs, open_source(config, specs), 8)


@pytest.mark.parametrize(
    ("layout", "sensors", "size_hw"),
    [
        ("folder", "thermal,depth", (64, 80)), ("fmb", "thermal", (60, 80)), ("mfnet", "thermal", (48, 64)),
        ("deliver", "hha,event", (64, 64)), ("mcubes", "aolp,dolp,nir", (64, 192 + 64)),
    ],
)  # fmt: skip
def test_samples_come_from_every_multi_modal_data_set(
    layout: LayoutName, sensors: str, size_hw: tuple[int, int], tmp_path: Path
) -> None:
    modalities = sensors.split(",")
    kept = {"modalities": modalities} if layout == "folder" else {}
    write_layout(layout, tmp_path, range(7_000_000, 7_000_006), size_hw=size_hw, **kept)  # type: ignore[arg-type]
    config = config_of(f"dataset={layout}", f"root={tmp_path}", f"modalities={sensors}", "modality_dropout=0")
    config = dataclasses.replace(config, is_partial=layout != "folder")
    samples = samples_of(config)
    for number in range(4):
        sample = samples.sample(number)
        assert sample["image"].shape == (3, SIDE, SIDE) and sample["presence"].tolist() == [1.0] * len(modalities)
        for name, values in zip(modalities, sample["modalities"], strict=True):
            assert values.shape == (KNOWN_MODALITIES[name].spec.channels, SIDE, SIDE) and values.any()
        assert (sample["labels"] > 0).sum() >= 8


def test_epoch_shows_every_image_once_in_another_order(tmp_path: Path) -> None:
    write_layout("folder", tmp_path, range(7), size_hw=(32, 32), modalities=[])
    source = open_source(config_of("dataset=folder", f"root={tmp_path}", "modalities=[]"), ())
    assert isinstance(source, DatasetSource)
    first, second = ([source.index(n) for n in range(begin, begin + 7)] for begin in (0, 7))
    assert sorted(first) == sorted(second) == list(range(7)) and first != second


def test_cut_and_mirror_move_image_modalities_and_labels_together(tmp_path: Path) -> None:
    """One bright square in all of them: after any cut, it lies at the same place in all of them."""
    for folder in ("rgb", "labels", "thermal"):
        (tmp_path / folder).mkdir()
    square = np.zeros((90, 120), np.uint8)
    square[20:60, 30:90] = 200
    Image.fromarray(np.repeat(square[..., None], 3, 2)).save(tmp_path / "rgb/a.png")
    Image.fromarray((square > 0).astype(np.uint8)).save(tmp_path / "labels/a.png")
    Image.fromarray(square).save(tmp_path / "thermal/a.png")
    for crop in ("pixels", "share"):
        config = config_of(
            "dataset=folder", f"root={tmp_path}", "modalities=thermal", "modality_dropout=0", "photometric=false",
            f"crop={crop}", "crop_zoom=[0.8,1.4]", "flip_share=0.5",
        )  # fmt: skip
        samples, seen = samples_of(config), set()
        for number in range(12):
            sample = samples.sample(number)
            labels = sample["labels"] == 1
            seen.add(labels.tobytes())
            for values in (sample["image"][0] > 100, sample["modalities"][0][0] > 0.5):
                either = (labels | values).sum()
                assert (labels & values).sum() >= 0.9 * either
        assert len(seen) > 6


def test_pixel_cuts_are_not_resized_and_shares_are_of_the_image() -> None:
    rng = np.random.default_rng(0)
    config = TrainConfig(resolution=64)
    regions = [random_region((200, 300), config, rng) for _ in range(50)]
    assert {(r.width, r.height) for r in regions} == {(64, 64)} and len({r.x0 for r in regions}) > 20
    zoomed = dataclasses.replace(config, crop_zoom=(0.5, 2.0))
    sides = {random_region((200, 300), zoomed, rng).width for _ in range(50)}
    assert min(sides) >= 32 and max(sides) <= 128 and len(sides) > 20
    assert random_region((40, 300), config, rng).height == 40  # smaller than the cut


def test_labels_are_those_under_the_centres_of_network_pixels() -> None:
    labels = np.arange(12, dtype=np.int32).reshape(3, 4)
    frame = Frame.of((3, 4), 2, None)
    assert labels_to_network(labels, frame).tolist() == [[1, 3], [9, 11]]


def test_grey_control_says_what_the_image_says_whatever_the_unit() -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    grey = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) / 255
    for name in ("depth", "hha", "dolp"):
        spec = KNOWN_MODALITIES[name].spec
        scaled = scale_modality(in_unit(grey, spec), spec)
        assert np.allclose(scaled, grey[..., None], atol=1e-4), name


def test_controls_keep_images_and_labels_and_replace_modalities() -> None:
    data = DATASETS["synthetic"](DatasetOptions(max_images=3, side_px=48))
    specs = {name: KNOWN_MODALITIES[name].spec for name in ("thermal", "depth")}
    other = ControlledDataset(data, "other_scene", specs)
    grey = ControlledDataset(data, "grey", specs)
    for index in range(3):
        mine, theirs = data[index], data[(index + 1) % 3]
        for controlled in (other[index], grey[index]):
            assert np.array_equal(controlled.image, mine.image) and np.array_equal(controlled.labels, mine.labels)
        assert np.array_equal(other[index].modalities["thermal"], theirs.modalities["thermal"])
        assert np.corrcoef(grey[index].modalities["thermal"].ravel(), mine.image.mean(2).ravel())[0, 1] > 0.95
    assert other.describe()["control"] == "other_scene"


def test_controls_reach_the_training_samples() -> None:
    plain, other = (samples_of(config_of("modality_dropout=0", "photometric=false", *c)).sample(3)
                    for c in ((), ("control=other_scene",)))  # fmt: skip
    assert np.array_equal(plain["image"], other["image"]) and np.array_equal(plain["labels"], other["labels"])
    assert not np.array_equal(plain["modalities"][0], other["modalities"][0])


def test_validation_images_are_never_trained_on(tmp_path: Path) -> None:
    write_layout("folder", tmp_path, range(5), size_hw=(32, 32), modalities=[])
    config = config_of("dataset=folder", f"root={tmp_path}", "modalities=[]", "validation_images=2")
    source, held_out = open_source(config, ()), open_validation(config, ())
    assert held_out is not None and isinstance(source, DatasetSource)
    trained: list[Sample] = [source.dataset[i] for i in range(len(source))]
    assert {s.key for s in trained} & {held_out[i].key for i in range(2)} == set() and len(trained) == 3
    with pytest.raises(DataError, match="more than 5 images, which validation_images holds out"):
        open_source(override(config, ["validation_images=5"]), ())


def test_data_without_a_usable_surface_is_one_line_and_writes_nothing(tmp_path: Path) -> None:
    data = write_layout("folder", tmp_path / "data", range(3), size_hw=(32, 32), modalities=[])
    for file in (data / "labels").rglob("*.png"):
        Image.fromarray(np.zeros((32, 32), np.uint8)).save(file)
    config = config_of("dataset=folder", f"root={data}", "modalities=[]")
    with pytest.raises(DataError, match=r"surface of at least 8 px .* got none in 3 images") as caught:
        Trainer(config, tmp_path / "run")
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


def test_error_of_a_reading_process_is_its_one_line(tmp_path: Path) -> None:
    """Not the text of a traceback, which is what a worker's exception would be."""
    data = write_layout("folder", tmp_path / "data", range(4), size_hw=(32, 32), modalities=[])
    config = config_of("dataset=folder", f"root={data}", "modalities=[]", "workers=1", "steps=4")
    trainer = Trainer(config, tmp_path / "run")
    for file in (data / "rgb").rglob("*.png"):
        file.write_bytes(b"broken")
    with pytest.raises(DataError) as caught:
        trainer.run(lambda _: None)
    assert "\n" not in str(caught.value) and str(data) in str(caught.value)


def test_modalities_that_the_data_lack_are_an_error_or_absent(tmp_path: Path) -> None:
    write_layout("folder", tmp_path, range(3), size_hw=(32, 32), modalities=["thermal"])
    asked = ["dataset=folder", f"root={tmp_path}", "modalities=thermal,depth"]
    with pytest.raises(UsageError, match=r"\(thermal\) but got 'depth'; leave it out of --modalities"):
        samples_of(config_of(*asked))
    sample = samples_of(config_of(*asked, "allow_absent=true", "modality_dropout=0")).sample(0)
    assert sample["presence"].tolist() == [1.0, 0.0] and not sample["modalities"][1].any()


def test_unknown_data_set_and_missing_root_are_said() -> None:
    with pytest.raises(UsageError, match=r"Expected a data set \(.*mfnet.*\) but got 'mfnett'"):
        open_source(config_of("dataset=mfnett"), ())
    with pytest.raises(UsageError, match="Expected --root or "):
        open_source(config_of("dataset=mfnet", "modalities=thermal"), ())
    assert "extract-features" in cli.commands
