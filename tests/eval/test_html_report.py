"""The page of a benchmark: well-formed, self-contained, and with everything that a reader looks for."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmms_client.clicks import Click
from mmms_client.geometry import Region
from mmms_eval.baselines import DiskPredictor, VoronoiPredictor
from mmms_eval.charts import Line, click_ticks, line_chart
from mmms_eval.gallery import conflict_cards, surface_cards, worst_surfaces
from mmms_eval.html_report import write_page
from mmms_eval.pictures import GROUND_TRUTH, draw, part_to_show
from mmms_eval.protocol import EvaluationProtocol
from mmms_eval.runner import BrokenImage, Evaluation, evaluate

from .conftest import ThermalPredictor, ToyDataset

VOID = {"meta", "img", "br"}
SVG_LEAVES = {"polyline", "circle", "rect", "path", "line"}  # written as <x />
PROTOCOL = EvaluationProtocol(n_max=4, mean_iou_after=(1, 3))


@dataclass
class Page(HTMLParser):
    """What the page holds. Raises on a tag that is closed in the wrong place, or never."""

    open_tags: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        HTMLParser.__init__(self)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in VOID | SVG_LEAVES, f"<{tag}> is not written as <{tag} />"
        self.elements.append((tag, dict(attrs)))
        self.open_tags.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def attributes(self, name: str) -> list[str]:
        return [value for _, attributes in self.elements if (value := attributes.get(name)) is not None]


def parse(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    assert page.open_tags == []
    return page


@pytest.fixture
def evaluations(toy: ToyDataset) -> list[Evaluation]:
    ours = evaluate(VoronoiPredictor(), toy, PROTOCOL, name="eye <1>", description="in process", workers=2)
    disk = evaluate(DiskPredictor(11), toy, PROTOCOL, name="disk")
    return [ours, disk]


@pytest.fixture
def page(evaluations: list[Evaluation], toy: ToyDataset, tmp_path: Path) -> Page:
    write_page(tmp_path / "page.html", VoronoiPredictor(), evaluations, toy)
    return parse(tmp_path / "page.html")


def test_nothing_is_loaded_from_elsewhere(page: Page) -> None:
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "base"}
    for name in ("src", "href", "srcset", "xlink:href", "action", "data"):
        assert all(value.startswith("data:image/png;base64,") for value in page.attributes(name))
    style = "".join(page.texts)
    assert "url(" not in style and "@import" not in style
    assert "prefers-color-scheme: dark" in style


def test_the_numbers_of_the_results_are_there(page: Page, evaluations: list[Evaluation]) -> None:
    for evaluation in evaluations:
        assert evaluation.name in page.texts
        assert f"{evaluation.summary.noc['80']:.2f}" in page.texts
        assert f"{100 * evaluation.summary.mean_iou_after['3']:.1f}" in page.texts
    for heading in ("Results", "Curves", "Time", "Worst surfaces", "Conflicts between masks", "How it was measured"):
        assert heading in page.texts
    assert "protocol: n_max" in page.texts
    for title in ("Mean IoU after each click", "NoC against the IoU to reach", "Failures at IoU 80 by size"):
        assert title in page.attributes("aria-label")


def test_the_times_of_every_evaluation_are_there(page: Page, evaluations: list[Evaluation]) -> None:
    timing = evaluations[0].timing
    assert timing["workers"] == 2
    assert timing["response_ms"] > 0
    for key in ("response_ms", "per_click_with_encode_ms"):
        assert f"{timing[key]:.1f}" in page.texts
    assert f"{timing['click_ms']['p99']:.1f}" in page.texts
    assert "mean of last 30" in page.texts


def test_every_surface_of_the_gallery_exists_and_is_among_the_worst(page: Page, evaluations: list[Evaluation]) -> None:
    shown = list(zip(page.attributes("data-image"), map(int, page.attributes("data-surface")), strict=True))
    worst = [(image.key, surface.surface_id) for image, surface in worst_surfaces(evaluations[0])]
    assert shown == worst
    assert len(shown) == 12
    captions = page.attributes("alt")
    assert sum(caption.endswith(": prediction after 4 clicks") for caption in captions) > 0
    assert sum(caption.endswith(": thermal (not given to the model)") for caption in captions) == 12


def test_pictures_are_pngs(page: Page) -> None:
    for uri in page.attributes("src"):
        picture = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
        assert picture.format == "PNG"
        assert max(picture.size) == 340


def test_the_prediction_in_the_picture_is_the_one_that_was_measured(
    evaluations: list[Evaluation], toy: ToyDataset
) -> None:
    for card in surface_cards(VoronoiPredictor(), evaluations[0], toy):
        assert card.iou_shown == card.surface.ious[-1]


def test_a_model_that_answers_otherwise_is_found_out(
    evaluations: list[Evaluation], toy: ToyDataset, tmp_path: Path
) -> None:
    write_page(tmp_path / "page.html", DiskPredictor(4), evaluations, toy)
    assert "the model answered otherwise this time" in (tmp_path / "page.html").read_text()


def test_a_perfect_model_has_a_page_too(toy: ToyDataset, thermal_predictor: ThermalPredictor, tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", thermal_predictor, [evaluate(thermal_predictor, toy, PROTOCOL, name="eye")], toy)
    page = parse(tmp_path / "page.html")
    assert "No two masks of the images that were looked at overlap." in page.texts
    assert "thermal" in page.texts  # given to the model: no remark behind it


def test_a_surface_is_found_again_behind_a_broken_image(evaluations: list[Evaluation], toy: ToyDataset) -> None:
    shifted = ToyDataset([toy.samples[0], *toy.samples])
    ours = replace(evaluations[0], broken=(BrokenImage(0, "unreadable"),))
    assert [card.image for card in surface_cards(VoronoiPredictor(), ours, shifted)] == [
        card.image for card in surface_cards(VoronoiPredictor(), evaluations[0], toy)
    ]


def test_conflicts_name_the_surfaces_that_overlap(evaluations: list[Evaluation], toy: ToyDataset) -> None:
    cards = conflict_cards(VoronoiPredictor(), evaluations[0], toy)
    assert cards
    for card in cards:
        assert card.overlap_px <= sum(overlap.area_px for overlap in card.overlaps)
        assert {name for overlap in card.overlaps for name in overlap.names} <= {name for name, _ in card.colours}


def test_a_small_surface_is_shown_as_a_crop_with_its_clicks() -> None:
    mask = np.zeros((300, 400), np.bool_)
    mask[280:290, 380:395] = True
    part = part_to_show(mask, [Click(300, 250)])
    assert part == Region(238, 179, 162, 121)  # of the image's aspect ratio, pushed into its corner
    whole = part_to_show(np.ones((300, 400), np.bool_))
    assert whole == Region(0, 0, 400, 300)


def test_contours_fall_on_the_border_of_the_mask() -> None:
    mask = np.zeros((34, 34), np.bool_)
    mask[10:20, 10:20] = True
    picture = draw(np.full((34, 34, 3), 128, np.uint8), Region(0, 0, 34, 34), outlines=[(mask, GROUND_TRUTH)])
    changed = np.argwhere((picture != 128).any(-1))
    assert changed.min() >= 97 and changed.max() <= 202  # 10 px per image pixel, and the line's width
    assert (picture[150, 150] == 128).all()


def test_charts_stay_in_their_frame() -> None:
    svg = line_chart(
        [Line("a & b", ((1.0, 0.0), (20.0, 100.0)))], title="t", x_label="x", y_label="y", x_ticks=[1, 20], y_top=100
    )
    assert "a &amp; b" in svg
    assert 'points="60.0,254.0 498.0,14.0"' in svg
    assert click_ticks(20) == [1, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20]
    assert click_ticks(1) == [1]
