"""docs/datasets.md says what the loaders do."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmms_eval.datasets import (
    DATASETS,
    coco,
    coco_lvis,
    davis17,
    deliver,
    fmb,
    hqseg44k,
    mcubes,
    mfnet,
    sbd,
    winter_sports,
)
from mmms_eval.datasets.paired import Card
from mmms_eval.datasets.single_object import LAYOUTS

PAGE = (Path(__file__).parents[3] / "docs" / "datasets.md").read_text("utf-8")
LOADERS = (fmb, mfnet, deliver, mcubes, sbd, hqseg44k, davis17, coco, coco_lvis)
CARDS = [
    *(loader.CARD for loader in LOADERS),
    *(layout.card for layout in LAYOUTS.values()),
    winter_sports.SHSEG,
    winter_sports.WSESEG,
]


def test_every_published_data_set_is_in_here() -> None:
    assert {card.name for card in CARDS} == set(DATASETS) - {"folder", "sessions", "synthetic"}


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_the_table_and_the_classes_are_those_of_the_loader(card: Card) -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{card.name}` |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1] == ", ".join(f"`{folder}`" for folder in card.folders)
    assert cells[2] == (", ".join(card.modalities) or "-")
    assert cells[4] == ", ".join(f"{split} {card.counts[split]}" for split in card.splits if split in card.counts)
    if card.stored_hw:
        assert cells[5].startswith(f"{card.stored_hw[1]}x{card.stored_hw[0]}")
    if len(card.names) > 1:
        assert cells[3] == f"{len(card.names)} classes"
        assert f"({', '.join(card.names.values())})" in " ".join(PAGE.split())
        assert sorted(i for i in card.ids.values() if i > 0) == list(card.names)
    if card.page:
        assert card.page.split()[-1] in PAGE
