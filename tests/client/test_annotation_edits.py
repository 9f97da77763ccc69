"""Locks, merge, split, drawing, cleaning, removed clicks, regions: on the same fold as clicks, all of it undoable."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from annotation_steps import STEPS, answered, perform, remove
from mmms_client import Click, ClickError, Region, Session, UsageError, edits
from mmms_client.alignment import Nudge
from mmms_client.annotation_state import State
from mmms_client.box_mask import NOWHERE, Box, BoxMask, box_of_pixels
from mmms_client.components import label_parts, without_holes, without_specks
from mmms_client.events import ModalityAligned, Surface
from mmms_client.joint_mask import empty_joint_map, paste
from mmms_client.replaying import surface_alone
from mmms_client.run_length import decode_runs, encode_box_runs, encode_runs
from mmms_client.strokes import brush_mask, polygon_mask

HW = (48, 64)


@pytest.fixture
def session(predictor, image) -> Session:
    return Session(predictor, image)


def boxes(*corners: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros(HW, bool)
    for x0, y0, x1, y1 in corners:
        mask[y0:y1, x0:x1] = True
    return mask


def surface(session: Session, name: str, *corners: tuple[int, int, int, int]) -> int:
    number = session.add_surface(name)
    session.start_mask(number, boxes(*corners))
    return number


# Locks --------------------------------------------------------------------------------------------------
def test_nothing_takes_pixels_of_a_locked_surface_or_changes_it(session) -> None:
    a, b = surface(session, "a", (0, 0, 20, 20)), session.add_surface("b")
    session.do(edits.change(session, a, is_locked=True))
    before = session.mask(a)
    session.click(b, 20, 10)
    session.do(edits.brush(session, b, [(5, 5), (40, 5)], 6, is_erased=False))
    session.do(edits.polygon(session, b, [(0, 0), (30, 0), (30, 30)], is_erased=False))
    assert np.array_equal(session.mask(a), before) and session.mask(b)[5, 25]
    for refused in (
        lambda: session.click(a, 5, 5),
        lambda: edits.brush(session, a, [(5, 5)], 3, is_erased=False),
        lambda: edits.delete(session, a),
        lambda: edits.merge(session, b, a),
        lambda: edits.split(session, a),
        lambda: edits.clean(session, a, 9, 9),
    ):
        with pytest.raises(
            UsageError, match=r"^Expected a surface that is not locked but got 1 'a'; unlock it first\.$"
        ):
            refused()
    session.do(edits.change(session, a, is_locked=False))
    session.do(edits.brush(session, b, [(5, 5)], 3, is_erased=False))
    assert not session.mask(a)[5, 5], "unlocked, it gives way again"


def test_a_lock_holds_for_the_visits_that_knew_it_whatever_is_deleted_later(session) -> None:
    a, b = surface(session, "a", (0, 0, 20, 20)), surface(session, "b", (30, 0, 50, 20))
    session.do(edits.change(session, a, is_locked=True))
    c = surface(session, "c", (10, 0, 40, 20))
    session.do(edits.change(session, a, is_locked=False))
    session.delete_surface(b)
    assert session.mask(a)[:20, :20].all() and np.array_equal(session.mask(c), boxes((20, 0, 40, 20)))
    session.delete_surface(a)
    assert session.mask(c).sum() == 30 * 20, "nobody is left to be spared"


# Drawing ------------------------------------------------------------------------------------------------
def test_a_brush_stroke_is_the_previous_mask_of_the_next_click(session, predictor) -> None:
    a = session.add_surface("a")
    session.click(a, 30, 20)
    session.do(edits.brush(session, a, [(10, 40), (50, 40)], 3, is_erased=False))
    drawn = session.mask(a)
    assert drawn[40, 12] and drawn[20, 30], "the stroke adds to what there was"
    session.click(a, 60, 5)
    clicks, previous = predictor.seen[-1]
    assert clicks == (Click(30, 20), Click(60, 5)), "its clicks stay"
    assert np.allclose(previous, session.frame.mask_to_network(drawn))
    assert session.mask(a)[40, 12] and session.mask(a)[5, 60]


def test_what_a_stroke_took_too_much_comes_back_with_the_eraser(session) -> None:
    a, b = surface(session, "a", (0, 0, 20, 48)), session.add_surface("b")
    before = session.joint
    session.do(edits.brush(session, b, [(10, 10), (40, 10)], 4, is_erased=False))
    assert not session.mask(a)[10, 15]
    session.do(edits.brush(session, b, [(0, 10), (19, 10)], 6, is_erased=True))
    assert session.mask(a)[:, :20].all(), "strokes of one visit share the map it began with"
    assert len(session.visits) == 2
    while session.undo().__class__.__name__ == "MaskStarted" and len(session.events) > 3:
        pass
    assert np.array_equal(session.joint, before)


def test_strokes_are_what_their_definition_says() -> None:
    path, radius = [(5.3, 6.0), (30.0, 20.5), (12.0, 44.0)], 4.5
    rows, columns = np.mgrid[: HW[0], : HW[1]]
    expected = np.zeros(HW, bool)
    for (ax, ay), (bx, by) in itertools.pairwise(path):
        share = ((columns - ax) * (bx - ax) + (rows - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2)
        share = share.clip(0, 1)
        expected |= np.hypot(columns - ax - share * (bx - ax), rows - ay - share * (by - ay)) <= radius
    assert np.array_equal(brush_mask(path, radius, HW).whole, expected)
    dot = brush_mask([(63, 47)], 0.5, HW)
    assert dot.area_px == 1 and dot.whole[47, 63]
    assert brush_mask([(500, 500)], 5, HW).area_px == 0 == polygon_mask([(99, 1), (120, 1), (99, 9)], HW).area_px
    triangle = polygon_mask([(-10, 0), (20, 0), (20, 30)], HW).whole
    assert triangle[0, :21].all() and triangle[15, 20] and not triangle[31].any() and not triangle[10, 21]
    for wrong in (
        lambda: brush_mask([], 3, HW),
        lambda: brush_mask([(1, 1)], 0, HW),
        lambda: brush_mask([(1, 1)], 1e9, HW),
    ):
        with pytest.raises(
            UsageError, match=r"^Expected a stroke of at least one point with a radius up to 512 px but got"
        ):
            wrong()
    with pytest.raises(UsageError, match="NaN or inf"):
        brush_mask([(float("nan"), 1)], 3, HW)
    with pytest.raises(UsageError, match=r"^Expected a polygon of at least 3 points but got 2; set more points\.$"):
        polygon_mask([(1, 1), (2, 2)], HW)


# Parts --------------------------------------------------------------------------------------------------
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.95), st.integers(1, 30), st.integers(1, 30))
def test_parts_holes_and_specks_are_those_of_scipy(seed, density, height, width) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < density
    for by_corners, structure in ((True, np.ones((3, 3))), (False, None)):
        labels, count = label_parts(mask, by_corners)
        expected, number = ndimage.label(mask, structure)
        assert count == number and np.array_equal(labels, expected)
    sizes = np.bincount(ndimage.label(mask, np.ones((3, 3)))[0].ravel())
    kept = np.flatnonzero(sizes >= 4)[1:] if sizes[0] >= 4 else np.flatnonzero(sizes >= 4)
    kept = kept[kept > 0]
    assert np.array_equal(without_specks(mask, 4), np.isin(ndimage.label(mask, np.ones((3, 3)))[0], kept))
    filled = without_holes(mask, height * width + 1)
    assert np.array_equal(filled, ndimage.binary_fill_holes(mask))


def test_split_makes_surfaces_of_the_parts_and_merge_puts_them_together(session) -> None:
    a = surface(session, "a", (0, 0, 10, 10), (20, 0, 40, 10), (50, 30, 51, 31))
    before = session.joint
    session.do(edits.split(session, a))
    assert [s.name for s in session.surfaces] == ["a", "a 2", "a 3"]
    assert np.array_equal(session.mask(a), boxes((20, 0, 40, 10))), "the largest keeps the name"
    assert np.array_equal(session.mask(2), boxes((0, 0, 10, 10)))
    last = session.state.visits_of(a)[-1]
    assert session.layers.lost_px(last) == 0, "a split is no damage"
    session.do(edits.merge(session, 2, 3))
    assert [s.surface_id for s in session.surfaces] == [1, 2] and session.mask(2)[30, 50] and session.mask(2)[0, 0]
    session.undo()
    session.undo()
    assert np.array_equal(session.joint, before)
    with pytest.raises(UsageError, match=r"^Expected two surfaces to merge but got 1 twice"):
        edits.merge(session, a, a)
    with pytest.raises(
        UsageError, match=r"^Expected a surface with 2 to 256 parts but got 1; there is nothing to split\.$"
    ):
        edits.split(session, surface(session, "b", (0, 40, 5, 45)))


def test_what_was_merged_leaves_no_trace_when_it_is_erased_or_deleted(session) -> None:
    a, b = surface(session, "a", (0, 0, 10, 10)), surface(session, "b", (20, 0, 30, 10))
    session.do(edits.merge(session, a, b))
    session.do(edits.brush(session, a, [(25, 5)], 12, is_erased=True))
    assert set(np.unique(session.joint)) == {0, a} and not session.mask(a)[:, 20:].any()
    session.undo()
    session.click(a, 25, 40)
    assert set(np.unique(session.joint)) == {0, a}
    session.delete_surface(a)
    assert not session.joint.any()
    session.undo()
    assert session.mask(a)[0, 25]


def test_clean_fills_holes_and_drops_specks_but_takes_nothing_from_others(session) -> None:
    a = surface(session, "a", (0, 0, 30, 30), (50, 5, 52, 6))
    session.do(edits.polygon(session, a, [(4, 4), (8, 4), (8, 8), (4, 8)], is_erased=True))
    b = surface(session, "b", (20, 20, 23, 23))
    session.do(edits.clean(session, a, holes_px=30, specks_px=3))
    mask = session.mask(a)
    assert mask[6, 6] and not mask[5, 50] and np.array_equal(session.mask(b), boxes((20, 20, 23, 23)))
    assert mask.sum() == 900 - 9
    session.undo()
    assert not session.mask(a)[6, 6]


# Removed clicks -----------------------------------------------------------------------------------------
def test_a_removed_click_leaves_what_the_others_alone_would_have_given(session, predictor, image) -> None:
    a, b = session.add_surface("a"), session.add_surface("b")
    session.click(a, 10, 10)
    session.click(a, 30, 20)
    session.click(a, 50, 40)
    session.click(b, 34, 20)
    session.click(a, 20, 40)
    remove(session, a, 1)
    other = Session(type(predictor)(), image)
    other.add_surface("a"), other.add_surface("b")
    for number, x, y in ((a, 10, 10), (a, 50, 40), (b, 34, 20), (a, 20, 40)):
        other.click(number, x, y)
    assert np.array_equal(session.joint, other.joint)
    assert session.clicks(a) == other.clicks(a)
    calls = predictor.calls
    session.undo()
    assert len(session.clicks(a)) == 4 and predictor.calls == calls
    with pytest.raises(UsageError, match=r"^Expected the number of a click of surface 1 below 4 but got 4; it is gone"):
        edits.remove_click(session, a, 4)


def test_a_visit_without_clicks_falls_back_to_its_start_or_away(session) -> None:
    a, b = session.add_surface("a"), surface(session, "b", (40, 0, 60, 20))
    session.click(a, 10, 10)
    session.click(b, 45, 30)
    remove(session, b, 0)
    assert np.array_equal(session.mask(b), boxes((40, 0, 60, 20)))
    remove(session, a, 0)
    assert not session.mask(a).any() and len(session.visits) == 1


# Regions ------------------------------------------------------------------------------------------------
def test_a_region_of_a_visit_leaves_the_rest_of_the_mask_alone(session, predictor) -> None:
    a = surface(session, "a", (0, 0, 64, 10))
    region = Region(32, 0, 32, 24)
    session.click(a, 40, 20)
    assert session.mask(a)[:10].all()
    session.click(a, 50, 5, is_positive=False, region=region)
    clicks, previous = predictor.seen[-1]
    assert clicks == (Click(40, 20), Click(50, 5, False)) and previous.shape == (64, 64)
    assert not session.mask(a)[5, 50] and session.mask(a)[:10, :32].all()
    session.click(a, 60, 22, region=region)
    session.click(a, 2, 40)
    assert [(v.region, len(v.clicks)) for v in session.visits] == [(None, 1), (region, 2), (None, 1)]
    assert predictor.seen[-1][0][-1] == Click(2, 40)
    with pytest.raises(ClickError, match="the region at 32, 0"):
        session.click(a, 5, 5, region=region)
    with pytest.raises(UsageError, match="Expected a region inside the image"):
        session.click(a, 5, 5, region=Region(60, 0, 10, 10))


def test_clicks_outside_the_region_are_not_asked_about(session, predictor) -> None:
    a = session.add_surface("a")
    session.click(a, 5, 5)
    session.click(a, 50, 20, region=Region(32, 0, 32, 24))
    assert predictor.seen[-1][0] == (Click(50, 20),)
    assert session.mask(a)[5, 5] and session.clicks(a) == (Click(5, 5), Click(50, 20))


def test_a_surface_alone_is_all_its_clicks_without_the_others(session, predictor) -> None:
    a, b = session.add_surface("a"), session.add_surface("b")
    session.click(a, 20, 20)
    session.click(b, 24, 20)
    session.click(a, 50, 30)
    frame, answer = answered(session, surface_alone(session, a))
    assert frame == session.frame
    mask = frame.answer_mask(answer, 0.5).whole
    assert mask[20, 24] and mask[20, 20] and mask[30, 50], "b took nothing of it"
    with pytest.raises(UsageError, match="Expected a surface with clicks but got 3 without"):
        answered(session, surface_alone(session, session.add_surface("c")))


# Flags and lists ----------------------------------------------------------------------------------------
def test_a_surface_that_a_later_visit_damaged_says_how_much_and_by_whom(session) -> None:
    a, b, c = surface(session, "a", (0, 0, 20, 20)), surface(session, "b", (10, 0, 30, 20)), session.add_surface("c")
    last = session.state.visits_of(a)[-1]
    assert (session.layers.lost_px(last), session.layers.lost_to(last)) == (200, (b,))
    session.do(edits.brush(session, c, [(0, 0)], 3, is_erased=False))
    assert session.layers.lost_px(last) == 200 + session.mask(c).sum() and session.layers.lost_to(last) == (b, c)
    session.undo()
    session.undo()
    session.delete_surface(b)
    last = session.state.visits_of(a)[-1]
    assert (session.layers.lost_px(last), session.layers.lost_to(last)) == (0, ())


def test_names_orders_and_alignments_undo_like_everything_else(session) -> None:
    a, b = session.add_surface("a"), session.add_surface("b")
    steps = [
        (lambda: edits.change(session, a, name="road", colour="#112233"), lambda: session.surface(a).name, "a", "road"),
        (lambda: edits.change(session, a, class_name="ground"), lambda: session.surface(a).class_name, None, "ground"),
        (lambda: edits.reorder(session, [b, a]), lambda: session.surfaces[0].surface_id, a, b),
        (lambda: edits.change(session, b, is_visible=False), lambda: session.surface(b).is_visible, True, False),
        (
            lambda: ModalityAligned("thermal", Nudge(2, 1)),
            lambda: session.state.nudges.get("thermal"),
            None,
            Nudge(2, 1),
        ),
    ]
    for make, look, before, now in steps:
        assert look() == before
        session.do(make())
        assert look() == now
    for _, look, before, _ in reversed(steps):
        session.undo()
        assert look() == before
    for _, look, _, now in steps:
        session.redo()
        assert look() == now
    with pytest.raises(UsageError, match=r"^Expected each of the surfaces \[2, 1\] once but got \[1\]"):
        edits.reorder(session, [1])
    with pytest.raises(UsageError, match="Expected a colour as #rrggbb"):
        edits.change(session, a, colour="red")


def test_imported_masks_get_free_ids_and_one_undo(session) -> None:
    surface(session, "a", (0, 0, 5, 5))
    parts = [
        (Surface(1, "x"), BoxMask.of(boxes((10, 0, 20, 10)))),
        (Surface(7, "y"), BoxMask.of(boxes((15, 0, 25, 10)))),
    ]
    session.do(edits.import_masks(session, parts))
    assert [(s.surface_id, s.name) for s in session.surfaces] == [(1, "a"), (2, "x"), (7, "y")]
    assert session.mask(7).sum() == 100 and session.mask(2).sum() == 50
    session.undo()
    assert len(session.surfaces) == 1
    with pytest.raises(UsageError, match=r"^Expected masks of 64x48 px, as the image, but got 5x4 px"):
        edits.import_masks(session, [(Surface(1, "x"), BoxMask.of(np.ones((4, 5), bool)))])


# The fold, whatever was done ----------------------------------------------------------------------------
def by_the_book(state: State) -> np.ndarray:
    """The joint map pasted visit by visit on whole maps."""
    joint = empty_joint_map(HW)
    for visit in state.visits:
        joint = np.where(np.isin(joint, list(visit.absorbed)), np.uint16(visit.surface_id), joint)
        joint = paste(joint, visit.surface_id, visit.mask.whole, visit.locked)
    return joint


@settings(max_examples=120, deadline=None)
@given(st.lists(STEPS, max_size=30))
def test_map_areas_boxes_and_losses_are_true_whatever_was_done(make_predictor, image, steps) -> None:
    session = Session(make_predictor(), image)
    for name in "abc":
        session.add_surface(name)
    for step in steps:
        before, shown = session.joint, session.revision
        perform(session, step)
        joint = by_the_book(session.state)
        assert np.array_equal(session.joint, joint) and np.array_equal(session.layers.joint, joint)
        if session.revision == shown + 1:
            assert session.changed == box_of_pixels(before != joint), "the page gets exactly what changed"
        assert set(np.unique(joint)) <= {0, *(s.surface_id for s in session.surfaces)}
        for s in session.surfaces:
            mask = joint == s.surface_id
            assert session.layers.area_px(s.surface_id) == mask.sum()
            assert session.layers.box(s.surface_id) == box_of_pixels(mask)
            visits = session.state.visits_of(s.surface_id)
            if visits:
                upto = session.state.visits.index(visits[-1]) + 1
                then = by_the_book(State(visits=session.state.visits[:upto])) == s.surface_id
                assert session.layers.lost_px(visits[-1]) == then.sum() - mask.sum()


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_everything_undoes_and_redoes_without_the_model(make_predictor, image, steps) -> None:
    predictor = make_predictor()
    session = Session(predictor, image)
    for name in "abc":
        session.add_surface(name)
    for step in steps:
        perform(session, step)
    while session.redo():
        pass
    states = [(session.state, session.joint)]
    calls = predictor.calls
    while session.undo():
        states.append((session.state, session.joint))
    assert session.state.surfaces == () and not session.joint.any()
    for state, joint in reversed(states[:-1]):
        assert session.redo() is not None
        assert session.state is state and np.array_equal(session.joint, joint)
    assert predictor.calls == calls


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9), st.floats(0, 1))
def test_run_lengths_of_a_box_are_those_of_the_whole_mask(seed, height, width, density) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < density
    assert encode_box_runs(BoxMask.of(mask)) == encode_runs(mask)
    assert np.array_equal(decode_runs(encode_box_runs(BoxMask.of(mask)), mask.shape), mask)


# Boxes --------------------------------------------------------------------------------------------------
def test_a_box_mask_is_its_mask() -> None:
    mask = boxes((3, 4, 20, 30), (40, 40, 41, 41))
    kept = BoxMask.of(mask)
    assert kept.box == Box(3, 4, 41, 41) and np.array_equal(kept.whole, mask) and kept.area_px == mask.sum()
    assert np.array_equal(kept.crop(Box(0, 0, 10, 10)), mask[:10, :10])
    empty = BoxMask.of(np.zeros(HW, bool))
    assert empty.box == NOWHERE and not empty.whole.any() and empty.area_px == 0
    with pytest.raises(ValueError, match="deflated data of another size than 2 bytes"):
        _ = BoxMask(HW, Box(0, 0, 4, 4), empty.packed).pixels


@pytest.mark.parametrize("size", [(48, 64), (500, 700), (64, 64), (20, 30)])
@pytest.mark.parametrize("region", [None, Region(3, 5, 15, 12)])
def test_the_mask_of_an_answer_is_that_of_the_whole_probabilities(predictor, size, region) -> None:
    frame = predictor.encode(np.zeros((*size, 3), np.uint8), region=region).frame
    rng = np.random.default_rng(1)
    for blur in (0, 1, 4):
        probabilities = ndimage.gaussian_filter(rng.random((64, 64)).astype(np.float32), blur)
        probabilities[:, 40:] = 0
        probabilities[50:] = 0
        whole = frame.probabilities_to_image(probabilities)
        clear = np.abs(whole - 0.5) > 1e-5  # sums in another order end in another last digit
        assert np.array_equal(frame.answer_mask(probabilities, 0.5).whole[clear], (whole > 0.5)[clear])
    assert frame.answer_mask(np.zeros((64, 64), np.float32), 0.5).box == NOWHERE
