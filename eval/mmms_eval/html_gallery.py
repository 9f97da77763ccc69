"""The sections of the HTML page with pictures: the worst surfaces, and conflicts between masks of one image."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from mmms_eval.gallery import ConflictCard, Shown, SurfaceCard
from mmms_eval.html_elements import note, table
from mmms_eval.protocol import percent
from mmms_eval.runner import Evaluation


def gallery(ours: Evaluation, cards: Sequence[SurfaceCard]) -> str:
    at = percent(ours.protocol.nocms_iou)
    text = (
        f"The {len(cards)} surfaces with the most clicks to IoU {at}, those with the lowest IoU first. Cyan: ground "
        "truth. Orange: prediction. Green plus: positive click. Red minus: negative click."
    )
    return note(text) + "".join(_surface(card, at) for card in cards)


def _surface(card: SurfaceCard, at: str) -> str:
    surface, (height, width) = card.surface, card.size_hw
    final = surface.ious[-1] if surface.ious else 0.0
    positive = sum(click.is_positive for click in surface.clicks)
    lines = [
        f"IoU {100 * final:.1f} % after {len(surface.clicks)} clicks ({positive} positive)",
        f"NoC@{at} {card.noc}" + ("" if card.is_reached else " (never reached)"),
        f"{surface.area_px} px, {100 * surface.area_px / (height * width):.2f} % of the image",
    ]
    if (card.part.width, card.part.height) != (width, height):
        lines.append(f"shown: {card.part.width} x {card.part.height} px of {width} x {height} px")
    if abs(card.iou_shown - final) > 5e-4:
        lines.append(f"the model answered otherwise this time: the mask shown has IoU {100 * card.iou_shown:.1f} %")
    return (
        f'<article class="card" data-image="{escape(card.image)}" data-surface="{surface.surface_id}">'
        f"<h3>{escape(surface.name)} <small>in {escape(card.image)}</small></h3>"
        f"<p>{escape('; '.join(lines))}</p>{_pictures(card.pictures, surface.name)}</article>"
    )


def conflicts(cards: Sequence[ConflictCard]) -> str:
    if not cards:
        return "<p>No two masks of the images that were looked at overlap.</p>"
    text = (
        "Masks as they are pasted for the first time, each annotated without knowing of the others; magenta is in more "
        "than one. The images that lost most IoU to later visits of other surfaces come first."
    )
    return note(text) + "".join(_conflict(card) for card in cards)


def _conflict(card: ConflictCard) -> str:
    keys = "".join(
        f'<li><span class="swatch" style="background:rgb{colour}"></span>{escape(name)}</li>'
        for name, colour in card.colours
    )
    rows = [["masks that overlap", "px"]]
    rows += [[" and ".join(overlap.names), str(overlap.area_px)] for overlap in card.overlaps[:6]]
    damaged = ", ".join(f"{name} ({100 * loss:.1f} %)" for name, loss in card.damaged) or "none"
    return (
        f'<article class="card" data-conflict="{escape(card.image)}"><h3>{escape(card.image)}</h3>'
        f"<p>{card.overlap_px} px are in more than one mask. IoU lost to later visits of others: {escape(damaged)}.</p>"
        f'<ul class="legend">{keys}</ul><div class="pair">{_pictures(card.pictures, card.image)}'
        f"{table(rows) if card.overlaps else ''}</div></article>"
    )


def _pictures(pictures: Sequence[Shown], name: str) -> str:
    figures = "".join(
        f'<figure><img src="{shown.uri}" alt="{escape(name)}: {escape(shown.caption)}" />'
        f"<figcaption>{escape(shown.caption)}</figcaption></figure>"
        for shown in pictures
    )
    return f'<div class="pictures">{figures}</div>'
