"""A folder of results as an app leaves it that was killed: made of what the app writes with, without an app."""

from __future__ import annotations

import json
from pathlib import Path

from mmms_client.annotate.project import Project, ProjectClass
from mmms_client.annotation import Annotation
from mmms_client.event_json import event_entry
from mmms_client.export_masks.palette_png import write_palette_png
from mmms_client.journal import JOURNAL_FILE, Journal
from mmms_client.results import JOINT_FILE, RESULTS_FILE, SESSION_FILE
from mmms_client.session_file import write_session

CLASSES = [ProjectClass(1, "ground", "#808000"), ProjectClass(2, "vehicle", "#0000ff")]


def leave(out: Path, name: str, image_path: str, done: Annotation, written: int) -> Path:
    """All steps of an annotation in the journal of an image, and its results as they were after some of them."""
    project, folder = Project.open(out, [], CLASSES), out / name
    then = Annotation(done.frame, done.max_clicks)
    then.restore(done.done[:written], [])
    with Journal.open(folder / JOURNAL_FILE, name, done.frame.image_hw)[0] as journal:
        for number, step in enumerate(done.done):
            if number == written:
                length_bytes = journal.length_bytes
            journal.append(event_entry(step.event, step.answers))
    write_session(folder / SESSION_FILE, project.session(then, image_path, {}, {}))
    write_palette_png(folder / JOINT_FILE, then.joint)
    (folder / RESULTS_FILE).write_text(json.dumps(project.made_of(length_bytes)))
    return folder
