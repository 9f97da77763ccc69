"""A person's own work as ground truth: folders as ``mmms-client annotate --out`` writes them."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import mmms_client
from killed_app import leave
from mmms_client import edits
from mmms_client.annotation import Annotation
from mmms_client.contract import ModalitySpec
from mmms_client.errors import DataError, ModalityError, UsageError
from mmms_client.geometry import Frame
from mmms_client.headless import AnnotateRequest, annotate
from mmms_eval.cli import bench
from mmms_eval.datasets import IGNORE
from mmms_eval.datasets.sample import DatasetOptions
from mmms_eval.datasets.sessions import open_sessions

from .conftest import open_tree, read, save


def clicks(*points: tuple[int, int]) -> list[dict[str, Any]]:
    return [{"x": x, "y": y, "positive": True} for x, y in points]


def work(root: Path, name: str, thermal_predictor: Any, **fields: Any) -> Path:
    """Annotate an image outside of ``root`` into ``root/name``: a warm left third, a hot right third."""
    data = root.parent / "data"
    save(data / "rgb.png", np.full((24, 30, 3), 90, np.uint8))
    thermal = np.zeros((24, 30), np.uint8)
    thermal[:, :10], thermal[:, 20:] = 1, 3  # what this predictor tells apart
    save(data / "thermal.png", thermal)
    document = {
        "schema_version": 1,
        "image": {"path": "rgb.png", "width": 30, "height": 24},
        "modalities": {"thermal": "thermal.png"},
        "surfaces": [
            {"id": 2, "name": "person", "visits": [{"clicks": clicks((4, 12))}]},
            {"id": 7, "name": "", "visits": [{"clicks": clicks((25, 12), (26, 20))}]},
            {"id": 9, "name": "never clicked", "visits": []},
        ],
        **fields,
    }
    (data / "session.json").write_text(json.dumps(document))
    request = AnnotateRequest(str(data / "rgb.png"), str(data / "session.json"), str(root / name), "")
    annotate(request, lambda line: None, lambda *_: nullcontext(thermal_predictor))
    return root / name


@pytest.fixture
def root(tmp_path: Path, thermal_predictor: Any) -> Path:
    root = tmp_path / "work"
    work(root, "anna/street", thermal_predictor)
    work(root, "bert", thermal_predictor)
    return root


def test_the_joint_map_of_a_session_is_the_ground_truth(root: Path) -> None:
    dataset = open_tree("sessions", root, partial=False)
    assert [dataset[i].key for i in range(len(dataset))] == ["anna/street", "bert"]
    sample = dataset[0]
    assert np.array_equal(sample.labels, read(root / "anna/street/joint.png"))
    assert [(s.id, s.name) for s in sample.surfaces()] == [(2, "person"), (7, "7")]
    assert sample.image.shape == (24, 30, 3)
    assert sample.modalities["thermal"][0, [0, 15, 29]].tolist() == [1, 0, 3]
    described = dataset.describe()
    assert (described["clicks_recorded"], described["surfaces_recorded"]) == (6, 6)
    assert described["sessions_by_modality"] == {"thermal": 2}


def test_bench_measures_it(root: Path, thermal_predictor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The predictor that made the sessions needs one click for each surface of them."""
    connector = type("Connector", (), {"connect": staticmethod(lambda url, **options: thermal_predictor)})
    monkeypatch.setitem(vars(mmms_client), "TritonPredictor", connector)
    file = root.parent / "bench.json"
    arguments = ["--dataset", "sessions", "--root", str(root), "--n-max", "3", "--json", str(file)]
    result = CliRunner().invoke(bench, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    summary = json.loads(file.read_text())["evaluations"][0]["summary"]
    assert (summary["images"], summary["surfaces"], summary["noc"]["95"]) == (2, 4, 1.0)


def test_what_a_killed_app_acknowledged_is_ground_truth_too(tmp_path: Path) -> None:
    save(tmp_path / "rgb.png", np.full((24, 30, 3), 90, np.uint8))
    done = Annotation(Frame.of((24, 30), 1), 64)
    for number in (1, 2):
        done.add_surface(f"s{number}")
        done.do(edits.brush(done, number, [(9.0 * number, 9.0)], 3, False))
    folder = leave(tmp_path / "work", "rgb.png", "../../rgb.png", done, written=2)
    sample = open_tree("sessions", tmp_path / "work", partial=False)[0]
    assert np.array_equal(sample.labels, done.joint) and [s.name for s in sample.surfaces()] == ["s1", "s2"]
    (folder / "joint.png").unlink()  # killed before the first one was written
    assert np.array_equal(open_tree("sessions", tmp_path / "work", partial=False)[0].labels, done.joint)
    (folder / "session.json").unlink()
    with pytest.raises(DataError, match=r"Expected '.*session.json' but got its journal alone .*; open the image in"):
        open_tree("sessions", tmp_path / "work", partial=False)


def test_a_root_that_is_one_session(root: Path) -> None:
    assert open_tree("sessions", root / "bert", partial=False)[0].key == "session"


def test_outside_of_an_annotated_region_nothing_is_known(root: Path) -> None:
    folder = root / "bert"
    document = json.loads((folder / "session.json").read_text())
    document["region"] = {"x0": 5, "y0": 4, "width": 20, "height": 10}
    (folder / "session.json").write_text(json.dumps(document))
    labels = open_tree("sessions", folder, partial=False)[0].labels
    assert (labels[:4] == IGNORE).all() and (labels[14:] == IGNORE).all() and (labels[:, 25:] == IGNORE).all()
    assert labels[4, 5:25].tolist() == read(folder / "joint.png")[4, 5:25].tolist()


def test_255_of_a_joint_map_is_ignored_and_ids_of_another_session_are_refused(root: Path) -> None:
    joint = read(root / "bert" / "joint.png")
    joint[0] = 255
    save(root / "bert" / "joint.png", joint)
    assert not open_tree("sessions", root / "bert", partial=False)[0].valid[0].any()
    joint[1] = 5
    save(root / "bert" / "joint.png", joint)
    with pytest.raises(DataError, match=r"Expected the surface ids 2, 7, 9 of session.json in .* but got 5; annotate"):
        open_tree("sessions", root / "bert", partial=False)[0]


def test_an_image_or_a_joint_map_of_another_size_is_named(root: Path) -> None:
    save(root / "bert" / "joint.png", np.zeros((24, 29), np.uint8))
    with pytest.raises(DataError, match=r"joint.png' of 30x24 px, as in session.json, but got 29x24 px; give"):
        open_tree("sessions", root / "bert", partial=False)[0]
    save(root.parent / "data" / "rgb.png", np.zeros((30, 24, 3), np.uint8))
    with pytest.raises(DataError, match=r"rgb.png' of 30x24 px, as in session.json, but got 24x30 px; give"):
        open_tree("sessions", root / "anna", partial=False)[0]


def test_missing_files_are_listed_or_counted(root: Path) -> None:
    (root / "bert" / "session.json").unlink()
    (root / "anna/street/joint.png").unlink()
    (root.parent / "data" / "thermal.png").unlink()
    with pytest.raises(DataError, match=r"none at .*street/joint.png, .*thermal.png, .*bert/session.json; keep images"):
        open_tree("sessions", root, partial=False)
    dataset = open_tree("sessions", root, partial=False, keep_going=True)
    assert len(dataset) == 2
    for index in range(2):
        with pytest.raises(DataError):
            dataset[index]
    (root / "anna/street/session.json").write_text("{")
    with pytest.raises(DataError, match=r"street/session.json: expected JSON but got"):
        open_tree("sessions", root, partial=False)
    assert len(open_tree("sessions", root, partial=False, keep_going=True)) == 2


def test_a_missing_file_with_a_name_of_two_lines_is_said_on_one(root: Path) -> None:
    file = root / "anna/street/session.json"
    document = json.loads(file.read_text())
    document["image"]["path"] = "a\n\x1b[31mb"
    file.write_text(json.dumps(document))
    with pytest.raises(DataError, match="got none at") as caught:
        open_tree("sessions", root, partial=False)
    assert str(caught.value).isprintable()


def test_a_modality_that_is_left_out_need_not_be_there(root: Path) -> None:
    (root.parent / "data" / "thermal.png").unlink()
    dataset = open_tree("sessions", root, partial=False, modalities=())
    assert dataset[0].modalities == {} and dataset.modality_names == ("thermal",)


def test_alignments_of_the_session_and_units_are_applied(tmp_path: Path, thermal_predictor: Any) -> None:
    root = tmp_path / "work"
    folder = work(root, "a", thermal_predictor, alignment={"thermal": "stretch"})
    save(tmp_path / "data" / "thermal.png", np.full((24, 24), 100, np.uint8))
    kelvin = DatasetOptions(root=str(folder), specs=(ModalitySpec("thermal", 1, "linear", 200, 400, "K"),))
    with pytest.raises(ModalityError, match="the model wants 'thermal' in K but got none"):
        open_sessions(kelvin)[0]
    (tmp_path / "data" / "modalities.json").write_text('{"thermal": {"unit": "degC"}}')
    thermal = open_sessions(kelvin)[0].modalities["thermal"]
    assert thermal.shape[1] / thermal.shape[0] == pytest.approx(30 / 24, rel=0.05)
    np.testing.assert_allclose(thermal, 373.15, rtol=1e-6)


def test_sessions_may_have_different_modalities(root: Path, thermal_predictor: Any) -> None:
    document = json.loads((root / "bert" / "session.json").read_text())
    document["modalities"] = {}
    (root / "bert" / "session.json").write_text(json.dumps(document))
    dataset = open_tree("sessions", root, partial=False)
    assert [sorted(dataset[i].modalities) for i in range(2)] == [["thermal"], []]
    assert dataset.describe()["sessions_by_modality"] == {"thermal": 1}


def test_what_is_no_folder_of_sessions(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Expected --root with ROOT/ANY/FOLDER/session.json and joint.png beside it"):
        open_sessions(DatasetOptions())
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"but got no session; write sessions with 'mmms-client annotate --out FOLDER'"):
        open_tree("sessions", tmp_path, partial=False)
    with pytest.raises(UsageError, match="Expected --partial with a published data set but got 'sessions'"):
        open_tree("sessions", tmp_path)
