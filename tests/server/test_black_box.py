"""The backbone as somebody else's: a provider that serves nothing but `backbone`, training from its answers, a server
that never holds it, and a third one that has only `csnet` and a bundle of features. All three are real servers.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app_client import AppProcess, RefusedError, page_at
from mmms_client import Click, TritonPredictor
from mmms_client.cli import run as client
from mmms_client.errors import ContractError, DataError, ModalityError, ModelNotReadyError
from mmms_eval.datasets import DATASETS, DatasetOptions, Sample
from mmms_eval.synthetic import write_layout
from mmms_export.exporter import export, load_source
from mmms_export.repository import Target
from mmms_server.process import ServerProcess
from mmms_training.checkpoint import load_model, read_checkpoint
from mmms_training.config import TrainConfig, override, read_recipe
from mmms_training.extraction import LocalBackbone, Provider, extract_features
from mmms_training.feature_store import FeatureStore
from mmms_training.loop import Trainer
from mmms_training.model.backbone import AbsentBackbone
from mmms_training.predictor import TorchPredictor
from mmms_training.run_state import CHECKPOINT_NAME

SIDE = 64
NANO = Path(__file__).parents[2] / "checkpoints" / "nano.safetensors"
CPU = Target("cpu", "fp32")


def silent(_: str) -> None:
    pass


@dataclass(frozen=True)
class World:
    """Three servers and what was made on the way."""

    provider: str  # holds `backbone`
    ours: str  # holds `fuser` and `csnet`
    service: str  # holds `csnet`
    data: Path
    store: Path
    checkpoint: Path
    config: TrainConfig

    def sample(self) -> Sample:
        return DATASETS["folder"](DatasetOptions(root=str(self.data)))[0]


def serve(stack: ExitStack, folder: Path, checkpoint: Path, *without: str, side: int = SIDE) -> str:
    source = load_source(checkpoint, None, side, None, random_weights=False, without=without)
    export(source, CPU, side, folder, silent, without=without)
    return stack.enter_context(ServerProcess(folder, folder.with_suffix(".log"))).url


@pytest.fixture(scope="module")
def world(server_extra: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("black-box")
    data = write_layout(
        "folder", folder / "data", range(6_000_000, 6_000_003), size_hw=(64, 80), modalities=["thermal"]
    )
    settings = [
        f"resolution={SIDE}", "dataset=folder", f"root={data}", "modalities=thermal", "min_area_px=8", "steps=2",
        "batch_size=2", "surfaces_per_image=2", "feature_steps=0", "workers=0", "is_bf16=false", "log_every=1",
        f"store={folder / 'store'}",
    ]  # fmt: skip
    config = override(TrainConfig(), [*read_recipe("nano"), *settings])
    with ExitStack() as stack:
        provider = serve(stack, folder / "provider", NANO, "fuser", "csnet")
        extract_features(config, Provider(provider, config), folder / "store", 2, silent)
        trainer = Trainer(config, folder / "run")
        assert isinstance(trainer.model.backbone, AbsentBackbone)
        trainer.run(silent)
        checkpoint = folder / "run" / CHECKPOINT_NAME
        ours = serve(stack, folder / "ours", checkpoint, "backbone")
        shutil.copytree(folder / "ours" / "csnet", folder / "service" / "csnet")  # a stage says all of itself
        service = stack.enter_context(ServerProcess(folder / "service", folder / "service.log")).url
        yield World(provider, ours, service, data, folder / "store", checkpoint, config)


def test_provider_gives_what_the_local_backbone_gives(world: World, tmp_path: Path) -> None:
    local = dataclasses.replace(world.config, backbone_weights=str(NANO))
    extract_features(local, LocalBackbone(local), tmp_path / "store", 2, silent)
    asked, computed = FeatureStore.open(world.store), FeatureStore.open(tmp_path / "store")
    assert asked.facts == computed.facts  # the provider says whose weights it has
    for image in range(3):
        (cut_a, maps_a), (cut_b, maps_b) = asked.read(image, 1), computed.read(image, 1)
        assert cut_a == cut_b
        for a, b in zip(maps_a, maps_b, strict=True):
            assert a.dtype == np.float16 and np.abs(a.astype(float) - b).max() < 0.02 * np.abs(b.astype(float)).max()


def test_extraction_goes_on_where_it_was(world: World, tmp_path: Path) -> None:
    lines: list[str] = []
    (world.store / "000001-0.safetensors").rename(tmp_path / "away")
    extract_features(world.config, Provider(world.provider, world.config), world.store, 2, lines.append)
    assert lines[0].startswith("3 images x 2 cuts, 1 to compute") and "0 s left" in lines[-1]
    assert (world.store / "000001-0.safetensors").read_bytes() == (tmp_path / "away").read_bytes()


def test_trained_checkpoint_holds_no_backbone_and_says_whose_it_needs(world: World) -> None:
    read = read_checkpoint(world.checkpoint)
    assert not [name for name in read.weights if name.startswith("backbone.")]
    assert read.training["backbone_sha256"] == FeatureStore.open(world.store).facts.backbone_sha256
    with pytest.raises(DataError, match="give it with --backbone-weights FILE"):
        load_model(read, SIDE)


def test_client_takes_features_of_the_provider_and_answers_like_the_whole_network(world: World) -> None:
    sample, clicks = world.sample(), [Click(40.0, 30.0, True), Click(5.0, 5.0, False)]
    whole = TorchPredictor(load_model(read_checkpoint(world.checkpoint), SIDE, NANO), SIDE)
    expected = whole.predict(whole.encode(sample.image, sample.modalities), clicks)
    with TritonPredictor.connect(world.ours, f"provider={world.provider}") as predictor:
        encoded = predictor.encode(sample.image, sample.modalities)
        answer = predictor.predict(encoded, clicks)
        before = predictor.transport.statistics("fuser").requests
        predictor.predict(encoded, clicks, answer)
        assert predictor.transport.statistics("fuser").requests == before  # once per image
        assert encoded.present == ("thermal",) and "MB and" in predictor.description
    assert np.abs(answer - expected).max() <= 3 / 255


def test_bundle_is_annotated_and_measured_with_csnet_alone(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, results = tmp_path / "bundle", {}
    encode = ["encode", str(world.data), "--bundle", str(bundle), "--url", world.ours]
    assert client([*encode, "--features", f"provider={world.provider}"]) == 0
    assert "3 images (3 new), " in (said := capsys.readouterr().out) and "MB and" in said
    assert client([*encode, "--features", f"provider={world.provider}"]) == 0
    assert "3 images (0 new)" in capsys.readouterr().out
    bench = ["bench", "--dataset", "folder", "--root", str(world.data), "--n-max", "2", "--min-area", "40"]
    for name, url, features in (
        ("bundle", world.service, f"bundle={bundle}"), ("provider", world.ours, f"provider={world.provider}"),
    ):  # fmt: skip
        out = tmp_path / f"{name}.json"
        assert client([*bench, "--url", url, "--features", features, "--json", str(out)]) == 0, capsys.readouterr().err
        results[name] = json.loads(out.read_text())["evaluations"][0]["images"]
    assert results["bundle"] == results["provider"]
    session = tmp_path / "session.json"
    session.write_text(
        json.dumps(
            {
                "schema_version": 1, "image": {"path": "x.png", "width": 80, "height": 64},
                "surfaces": [{"id": 1, "name": "a", "visits": [{"clicks": [{"x": 40, "y": 30, "positive": True}]}]}],
            }
        )
    )  # fmt: skip
    picture = sorted((world.data / "rgb").rglob("*.png"))[0]
    arguments = ["annotate", str(picture), "--clicks", str(session), "--out", str(tmp_path / "out")]
    code = client([*arguments, "--url", world.service, "--features", f"bundle={bundle}"])
    assert code == 0, capsys.readouterr().err
    assert (tmp_path / "out" / "joint.png").is_file()


def test_the_app_needs_csnet_and_a_bundle_alone(world: World, tmp_path: Path) -> None:
    bundle, out = tmp_path / "bundle", tmp_path / "out"
    encode = ["encode", str(world.data), "--bundle", str(bundle), "--url", world.ours]
    assert client([*encode, "--features", f"provider={world.provider}"]) == 0
    first = sorted((world.data / "rgb").rglob("*.png"))[0]
    (tmp_path / "images").mkdir()
    shutil.copy(first, tmp_path / "images" / "a.png")
    Image.fromarray(255 - np.asarray(Image.open(first))).save(tmp_path / "images" / "b.png")

    with TritonPredictor.connect(world.service, f"bundle={bundle}") as predictor:
        encoded = predictor.encode(np.asarray(Image.open(first)))
        expected = encoded.frame.probabilities_to_image(predictor.predict(encoded, [Click(40.0, 30.0)]))
    threshold = round(float(np.median(expected)), 3)  # two steps of training: nothing is above one half
    assert 0 < (expected > threshold).mean() < 1

    async def scenario(address: str) -> None:
        async with page_at(address) as page:
            await page.op("open", index=0)
            await page.op("click", surface=None, x=40, y=30, positive=True)
            assert np.array_equal(page.joint > 0, expected > threshold)
            await page.op("open", index=1)
            with pytest.raises(RefusedError, match=r"^Expected the features of this image .* but got none; encode it"):
                await page.op("click", surface=None, x=40, y=30, positive=True)
            assert page.status["server"] == "ready"

    arguments = [tmp_path / "images", "--out", out, "--url", world.service, "--threshold", str(threshold), "--features"]
    with AppProcess(*arguments, f"bundle={bundle}") as app:
        assert app.address, app.lines
        asyncio.run(scenario(app.address))
    for features, said in (("bundle=/nowhere", "Expected a bundle in '/nowhere'"), ("plain", "Expected --features")):
        with AppProcess(*arguments, features) as app:
            assert app.process.wait(30) in (1, 2) and not app.address
        assert len(app.lines) == 1 and said in app.lines[0], app.lines


def test_what_does_not_fit_is_one_line(world: World, tmp_path: Path) -> None:
    with pytest.raises(ModelNotReadyError, match=r"holds only a part of the stages; say where features come from"):
        TritonPredictor.connect(world.service)
    with pytest.raises(ModelNotReadyError, match="'backbone' to be ready at the provider"):
        TritonPredictor.connect(world.ours, f"provider={world.service}")
    with pytest.raises(ContractError, match=r"backbone for 96 px at .* --resolution 96"):
        Provider(world.provider, dataclasses.replace(world.config, resolution=96))
    bundle = tmp_path / "bundle"
    assert client(["encode", str(world.data), "--bundle", str(bundle), "--url", world.ours,
                   "--features", f"provider={world.provider}"]) == 0  # fmt: skip
    sample = world.sample()
    with TritonPredictor.connect(world.service, f"bundle={bundle}") as predictor:
        with pytest.raises(DataError, match=r"features of this image .* but got none; encode it"):
            predictor.encode(sample.image[::-1])
        assert predictor.encode(sample.image).present == ("thermal",)
    listed = json.loads((bundle / "bundle.json").read_text())
    for entry in listed["images"].values():
        entry["modalities"] = []
    (bundle / "bundle.json").write_text(json.dumps(listed))
    with (
        TritonPredictor.connect(world.service, f"bundle={bundle}") as predictor,
        pytest.raises(ModalityError, match=r"was encoded with \(none\) but got thermal"),
    ):
        predictor.encode(sample.image, sample.modalities)
    for length in (64, 5000):
        listed["made_for"]["checkpoint_sha256"] = "0" * length
        (bundle / "bundle.json").write_text(json.dumps(listed))
        with pytest.raises(ContractError, match="encode the images again with this network") as caught:
            TritonPredictor.connect(world.service, f"bundle={bundle}")
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("resolution=96", "at resolution 96 in .* but they are at resolution 64"),
        ("preset=mmms_mae_b16", r"features of facebook/vit-mae-base .* but they are of nano_vit"),
        ("validation_images=1", "of images 2 in .* but they are of images 3"),
    ],
)
def test_store_of_another_backbone_or_resolution_is_refused(
    world: World, tmp_path: Path, setting: str, message: str
) -> None:
    before = {file: file.stat().st_mtime_ns for file in world.store.iterdir()}
    with pytest.raises(DataError, match=message):
        Trainer(override(world.config, [setting]), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert {file: file.stat().st_mtime_ns for file in world.store.iterdir()} == before


def test_store_is_not_continued_with_other_cuts(world: World) -> None:
    config = override(world.config, ["seed=5"])
    with pytest.raises(DataError, match="begun with these settings but its cutting differs"):
        extract_features(config, Provider(world.provider, config), world.store, 2, silent)
