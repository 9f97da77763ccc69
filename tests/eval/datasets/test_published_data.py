"""``bench`` on published data sets: where the data are looked for, broken files, and what is stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import mmms_client
from mmms_client.errors import DataError, MMMSError, UsageError
from mmms_eval.cli import bench
from mmms_eval.datasets import DATASETS, DatasetOptions

from .conftest import first, open_tree

Tree = Callable[[str], Path]
PUBLISHED = sorted(set(DATASETS) - {"folder", "sessions", "synthetic"})
FEW = ["--n-max", "3", "--workers", "1"]


@pytest.fixture(autouse=True)
def connected(monkeypatch: pytest.MonkeyPatch, thermal_predictor: Any) -> None:
    class Connector:
        @staticmethod
        def connect(url: str, **options: Any) -> Any:
            return thermal_predictor

    monkeypatch.setitem(vars(mmms_client), "TritonPredictor", Connector)
    monkeypatch.delenv("MMMS_DATA", raising=False)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(bench, [*FEW, *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def error_of(*arguments: str) -> MMMSError:
    with pytest.raises(MMMSError) as caught:
        bench.main([*FEW, *arguments], standalone_mode=False)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("name", PUBLISHED)
def test_without_data_the_tree_and_its_page_are_said(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = error_of("--dataset", name)
    assert str(error).startswith("Expected --root or $MMMS_DATA/") and f"for {name!r} but got neither" in str(error)
    assert "with the tree ROOT/" in str(error) and error.exit_code == 2
    assert name == "sbd" or "(from " in str(error)
    error = error_of("--dataset", name, "--root", str(tmp_path / "nowhere"))
    assert "nowhere' but got none; put there the tree ROOT/" in str(error) and error.exit_code == 1
    error = error_of("--dataset", name, "--root", str(tmp_path))
    assert "the tree ROOT/" in str(error) and error.exit_code == 1
    monkeypatch.setenv("MMMS_DATA", str(tmp_path))
    assert f"Expected the folder {str(tmp_path)!r}"[:-1] in str(error_of("--dataset", name))


def test_data_are_found_by_the_environment(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree("mfnet")
    monkeypatch.setenv("MMMS_DATA", str(root.parent))
    root.rename(root.parent / "ir_seg_dataset")  # the name that its archive has
    assert DATASETS["mfnet"](DatasetOptions(partial=True)).describe()["root"].endswith("ir_seg_dataset")
    (root.parent / "ir_seg_dataset").rename(root.parent / "MFNet")
    assert DATASETS["mfnet"](DatasetOptions(partial=True)).describe()["root"].endswith("MFNet")


def test_split_label_rule_and_modalities_are_stored(tree: Tree, tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    root = tree("mfnet")
    output = run(
        "--dataset", "mfnet", "--root", str(root), "--split", "published-val", "--partial", "--json", str(file)
    )
    assert "split test, split_asked published-val" in output and "0 (not annotated) is background" in output
    document = json.loads(file.read_text())
    assert document["schema_version"] == 4
    stored = document["dataset"]
    assert (stored["split"], stored["images_published"], stored["partial"]) == ("test", 393, True)
    assert stored["images"] == stored["images_in_split"] == len((root / "test.txt").read_text().split())
    evaluation = document["evaluations"][0]
    assert evaluation["modalities"] == {"used": ["thermal"], "unused": [], "absent": []}
    assert evaluation["broken"] == []


def test_a_broken_file_stops_the_run_or_is_counted(tree: Tree, tmp_path: Path) -> None:
    root, file = tree("fmb"), tmp_path / "bench.json"
    victim = first(root, "train/Infrared/*")
    victim.write_bytes(victim.read_bytes()[:100])
    request = ["--dataset", "fmb", "--root", str(root), "--split", "train", "--partial", "--json", str(file)]
    error = error_of(*request)
    assert victim.name in str(error) and error.exit_code == 1
    assert not file.exists()
    output = run(*request, "--keep-going")
    images = len(list(root.glob("train/Visible/*")))
    assert f"broken:   image 0: Expected {str(victim)!r} to be a whole image" in output
    assert "1 images are broken and were left out (--keep-going)" in output
    evaluation = json.loads(file.read_text())["evaluations"][0]
    assert [broken["index"] for broken in evaluation["broken"]] == [0]
    assert victim.name in evaluation["broken"][0]["error"]
    assert evaluation["summary"]["images"] == images - 1


def test_a_missing_file_is_counted_as_broken_too(tree: Tree) -> None:
    root = tree("fmb")
    victim = first(root, "train/Label/*")
    victim.unlink()
    request = ["--dataset", "fmb", "--root", str(root), "--split", "train", "--partial"]
    assert f"but got none at train/Label/{victim.stem}.*; " in str(error_of(*request))
    assert f"broken:   image 0: Expected label file '{victim.with_suffix('.*')}' but got" in run(
        *request, "--keep-going"
    )


def test_nothing_but_broken_files_is_an_error(tree: Tree) -> None:
    root = tree("fmb")
    for path in root.glob("test/Label/*"):
        path.unlink()
    error = error_of("--dataset", "fmb", "--root", str(root), "--partial", "--keep-going")
    count = len(list(root.glob("test/Visible/*")))
    assert f"Expected an image of 'fmb' that can be read but got {count} broken ones; the first: " in str(error)


def test_a_mistake_of_the_user_is_no_broken_file(tree: Tree) -> None:
    """A missing unit would break every image: it stops the run at the first."""
    root = tree("deliver")
    with pytest.raises(UsageError, match="the model wants 'depth' in m"):
        open_tree("deliver", root, keep_going=True)[0]


@pytest.mark.parametrize("option", [["--split", "test"], ["--partial"], ["--include-unlabelled"]])
def test_options_of_published_data_are_refused_elsewhere(option: list[str], tmp_path: Path) -> None:
    for name in ("synthetic", "folder"):
        error = error_of("--dataset", name, "--root", str(tmp_path), *option)
        assert str(error) == f"Expected {option[0]} with a published data set but got {name!r}; drop the option."
        assert error.exit_code == 2


def test_the_first_images_of_a_split(tree: Tree) -> None:
    dataset = open_tree("mcubes", tree("mcubes"), "train", max_images=2)
    assert (len(dataset), dataset.describe()["images"]) == (2, 2)
    assert dataset.describe()["images_in_split"] > 2
    with pytest.raises(DataError, match="Expected 302 images of 'mcubes', 'train'"):
        open_tree("mcubes", Path(dataset.describe()["root"]), "train", max_images=2, partial=False)
