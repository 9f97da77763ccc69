"""Synthetic scenes seen by several registered sensors: to train on and to measure with."""

from mmms_eval.synthetic.layouts import write_layout
from mmms_eval.synthetic.rendering import render_scene
from mmms_eval.synthetic.scene import IGNORE, MODALITIES, SCENE_TYPES, Scene, SceneConfig

__all__ = ["IGNORE", "MODALITIES", "SCENE_TYPES", "Scene", "SceneConfig", "render_scene", "write_layout"]
