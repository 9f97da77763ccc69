"""Writes the sample pair of the demo: one synthetic street, its sensors, and a recorded session on it.

The session is what a patient person would click: the first click in the middle of each surface, then one on the
largest error of the shipped network's answer, until the surface is good or three clicks are spent.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from mmms_client import Session
from mmms_client.files import make_folder, write_png_atomically, write_text_atomically
from mmms_client.session_file import document_of, write_session
from mmms_eval.click_simulation import SimulatedAnnotator
from mmms_eval.metrics import iou
from mmms_eval.synthetic import SceneConfig, render_scene
from mmms_training.checkpoint import load_model, read_checkpoint
from mmms_training.predictor import TorchPredictor

ROOT = Path(__file__).resolve().parent
SEED = 5_000_000_009  # neither trained on nor part of the benchmark
SIZE_HW = (480, 640)
MIN_AREA_PX = 1500
MAX_CLICKS = 3
GOOD_IOU = 0.9
ZERO_CELSIUS_K = 273.15


def main() -> None:
    out = make_folder(ROOT / "street")
    scene = render_scene(SEED, SceneConfig(size_hw=SIZE_HW), modalities=("thermal", "depth"))
    thermal, depth = scene.modalities["thermal"], scene.modalities["depth"]
    millimetres = np.where(np.isfinite(depth) & (depth < 65.0), depth * 1000.0, 0.0)
    write_png_atomically(out / "rgb.png", Image.fromarray(scene.image))
    centi_kelvin = ((thermal + ZERO_CELSIUS_K) * 100).round().astype(np.uint16)
    write_png_atomically(out / "thermal.png", Image.fromarray(centi_kelvin))
    write_png_atomically(out / "depth.png", Image.fromarray(millimetres.round().astype(np.uint16)))
    units = {
        "thermal": {"unit": "K", "scale": 0.01},
        "depth": {"unit": "m", "scale": 0.001, "invalid": 0},
    }
    write_text_atomically(out / "modalities.json", json.dumps(units, indent=2) + "\n")
    predictor = TorchPredictor(load_model(read_checkpoint(ROOT.parent / "checkpoints" / "nano.safetensors"), 448), 448)
    far = np.where(millimetres > 0, millimetres / 1000.0, np.nan).astype(np.float32)
    session = Session(predictor, scene.image, {"thermal": thermal, "depth": far})
    ids, counts = np.unique(scene.labels[(scene.labels > 0) & (scene.labels < 255)], return_counts=True)
    for surface, area in sorted(zip(ids, counts, strict=True), key=lambda row: -row[1]):
        if area < MIN_AREA_PX:
            continue
        target = scene.labels == surface
        annotator = SimulatedAnnotator(target, scene.labels != 255)
        surface_id = session.add_surface(scene.names[surface - 1])
        prediction = np.zeros_like(target)
        for _ in range(MAX_CLICKS):
            click = annotator.next_click(prediction)
            if click is None or iou(prediction, target) >= GOOD_IOU:
                break
            prediction = session.click(surface_id, click.x_px, click.y_px, click.is_positive).mask
    write_session(
        out / "session.json",
        document_of(session, image_path="rgb.png", modalities={"thermal": "thermal.png", "depth": "depth.png"}),
    )


if __name__ == "__main__":
    main()
