"""Scenes: the same everywhere, with borders that are as visible in each sensor as they claim."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import pytest

from mmms_eval.synthetic import IGNORE, MODALITIES, Scene, SceneConfig, render_scene

SMALL = SceneConfig(size_hw=(96, 128))
CLEAR = SceneConfig(size_hw=(160, 160), camera_defects=False, invisible_share=0.3, modality_blind_share=0.2)


def same(a: Scene, b: Scene, names: tuple[str, ...]) -> bool:
    """Whether two scenes agree in every byte of the picture, the labels and the named maps."""
    pairs = [(a.image, b.image), (a.labels, b.labels), (a.invisible_borders, b.invisible_borders)]
    pairs += [(a.modalities[n], b.modalities[n]) for n in names]
    return a.names == b.names and all(x.tobytes() == y.tobytes() for x, y in pairs)


def test_a_seed_gives_the_same_bytes_whatever_was_rendered_before() -> None:
    first = render_scene(11, SMALL)
    render_scene(12, SMALL, ("lidar",))
    np.random.default_rng(0).normal(size=10)
    assert same(first, render_scene(11, SMALL), MODALITIES)


@pytest.mark.parametrize("asked", [(), ("thermal", "depth"), ("dolp",), ("hha", "event"), ("depth", "thermal")])
def test_leaving_modalities_out_changes_nothing_else(asked: tuple[str, ...]) -> None:
    for seed in range(6):
        whole, part = render_scene(seed, SMALL), render_scene(seed, SMALL, asked)
        assert set(part.modalities) == set(asked)
        assert same(whole, part, asked)


def test_different_seeds_give_different_scenes() -> None:
    assert len({render_scene(seed, SMALL, ()).image.tobytes() for seed in range(20)}) == 20


def test_an_unknown_modality_is_named_in_the_error() -> None:
    with pytest.raises(ValueError, match="but got radar"):
        render_scene(0, SMALL, ("thermal", "radar"))


def test_shapes_types_and_ranges_of_all_maps() -> None:
    for seed in range(10):
        scene = render_scene(seed, SMALL)
        h, w = SMALL.size_hw
        assert scene.image.shape == (h, w, 3) and scene.image.dtype == np.uint8
        channels = {"event": 3, "lidar": 3, "hha": 3, "aolp": 2}
        for name, field in scene.modalities.items():
            assert field.dtype == np.float32
            assert field.shape == ((h, w, channels[name]) if name in channels else (h, w))
            assert name == "depth" or np.isfinite(field).all(), name
        depth = scene.modalities["depth"]
        known = depth[np.isfinite(depth)]
        assert known.size and known.min() > 0.2 and known.max() < 200
        for name in ("event", "lidar", "hha"):
            assert scene.modalities[name].min() >= 0 and scene.modalities[name].max() <= 255
        for name in ("nir", "dolp"):
            assert scene.modalities[name].min() >= 0 and scene.modalities[name].max() <= 1
        aolp = scene.modalities["aolp"]
        assert np.allclose((aolp**2).sum(2), 1, atol=1e-4) and aolp[..., 1].min() >= 0
        assert scene.modalities["thermal"].min() > -70 and scene.modalities["thermal"].max() < 120


def test_ids_are_contiguous_and_named() -> None:
    counts = []
    for seed in range(25):
        scene = render_scene(seed, SceneConfig(size_hw=(128, 128)), ())
        found = set(np.unique(scene.labels).tolist()) - {0, IGNORE}
        assert found == set(range(1, len(scene.names) + 1))
        assert len(set(scene.names)) == len(scene.names)
        counts.append(len(found))
    assert min(counts) >= 2 and max(counts) <= SceneConfig.max_surfaces and np.mean(counts) > 5


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5])
def test_the_invisible_share_is_the_one_asked_for(share: float) -> None:
    config = SceneConfig(size_hw=(80, 80), invisible_share=share)
    scenes = [render_scene(seed, config, ()) for seed in range(50)]
    assert abs(np.mean([s.border_share_invisible for s in scenes]) - share) < 0.02
    assert abs(np.mean([s.border_share_modality_blind for s in scenes]) - 0.15) < 0.03
    if share == 0:
        assert not any(s.invisible_borders.any() for s in scenes)


@pytest.mark.parametrize("size_hw", [(32, 32), (33, 190), (190, 47)])
def test_small_and_long_pictures_work(size_hw: tuple[int, int]) -> None:
    for seed in range(2_000_000_000, 2_000_000_012):
        scene = render_scene(seed, SceneConfig(size_hw=size_hw))
        assert scene.image.shape[:2] == scene.labels.shape == size_hw
        assert scene.names


def test_border_maps_mark_changes_of_the_label() -> None:
    for seed in range(10):
        scene = render_scene(seed, SMALL, ())
        labels = np.pad(scene.labels.astype(int), 1, mode="edge")
        h, w = SMALL.size_hw
        around = [labels[1 + dy : 1 + dy + h, 1 + dx : 1 + dx + w] for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))]
        changes = np.any([(n != scene.labels) & (n != IGNORE) for n in around], 0) & (scene.labels != IGNORE)
        assert np.array_equal(changes, scene.borders)
        assert not (scene.invisible_borders & ~scene.borders).any()


@lru_cache(maxsize=1)
def clear_scenes() -> tuple[Scene, ...]:
    """Scenes without noise of the camera, so that a border in RGB cannot hide in it."""
    return tuple(render_scene(seed, CLEAR, ("thermal", "depth")) for seed in range(25))


def steps(field: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Differences between right-hand neighbours that are both marked, as one vector."""
    both = where[:, 1:] & where[:, :-1]
    change = np.abs(field[:, 1:].astype(np.float64) - field[:, :-1])
    return (change.mean(2) if change.ndim == 3 else change)[both]


def across(scene: Scene, field: np.ndarray, marked: np.ndarray) -> np.ndarray:
    """Differences across right-hand label borders of which both pixels are marked."""
    change = np.abs(field[:, 1:].astype(np.float64) - field[:, :-1])
    change = change.mean(2) if change.ndim == 3 else change
    other = scene.labels[:, 1:] != scene.labels[:, :-1]
    return change[other & marked[:, 1:] & marked[:, :-1]]


def gathered(kind: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Differences in one map across borders of a kind, and inside surfaces, of all clear scenes."""
    on, off = [], []
    for scene in clear_scenes():
        field = scene.image if name == "image" else scene.modalities[name]
        on.append(across(scene, field, getattr(scene, kind)))
        off.append(steps(field, ~scene.borders))
    return np.concatenate(on), np.concatenate(off)


def test_rgb_shows_nothing_at_invisible_borders() -> None:
    hidden, inside = gathered("invisible_borders", "image")
    shown, _ = gathered("modality_blind_borders", "image")
    assert len(hidden) > 2000
    assert hidden.mean() < 1.35 * inside.mean()
    assert np.median(hidden) <= 1.35 * np.median(inside) + 0.5
    assert shown.mean() > 4 * inside.mean()


def contrast_over_gap(scene: Scene, field: np.ndarray, marked: np.ndarray, gap: int = 3) -> np.ndarray:
    """Differences between pixels ``gap`` to the left and right of marked borders: what blur cannot hide."""
    other = (scene.labels[:, 1:] != scene.labels[:, :-1]) & marked[:, 1:] & marked[:, :-1]
    ys, xs = np.nonzero(other)
    keep = (xs >= gap) & (xs + 1 + gap < field.shape[1])
    ys, xs = ys[keep], xs[keep]
    a, b = (ys, xs - gap), (ys, xs + 1 + gap)
    same_sides = (scene.labels[a] == scene.labels[ys, xs]) & (scene.labels[b] == scene.labels[ys, xs + 1])
    left, right = field[a].astype(np.float64), field[b].astype(np.float64)
    return np.abs(left - right)[same_sides]


def sides(marked: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Temperature steps (degrees) and relative depth steps across marked borders, scene by scene."""
    for scene in clear_scenes():
        depth = np.log(np.nan_to_num(scene.modalities["depth"], nan=500.0))
        border = getattr(scene, marked)
        yield (
            contrast_over_gap(scene, scene.modalities["thermal"], border),
            contrast_over_gap(scene, depth.astype(np.float32), border),
        )


def test_thermal_or_depth_show_what_rgb_hides() -> None:
    seen = np.concatenate([(warm > 1.5) | (far > 0.08) for warm, far in sides("invisible_borders")])
    assert len(seen) > 1000
    assert seen.mean() > 0.93


def test_neither_thermal_nor_depth_show_modality_blind_borders() -> None:
    warm = np.concatenate([w for w, _ in sides("modality_blind_borders")])
    far = np.concatenate([f for _, f in sides("modality_blind_borders")])
    assert np.median(warm) < 0.8
    assert np.median(far) < 0.04


def test_painted_borders_differ_in_rgb() -> None:
    config = SceneConfig(size_hw=(128, 128), invisible_share=0.0, camera_defects=False)
    shown = []
    for seed in range(20):
        scene = render_scene(seed, config, ())
        shown.append(contrast_over_gap(scene, scene.image.astype(np.float32).mean(2), scene.borders, 2))
    assert np.median(np.concatenate(shown)) > 15
