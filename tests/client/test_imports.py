"""The import budget: what the client must never load, seen from a fresh interpreter."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys

import pytest

import mmms_client

FORBIDDEN = {"torch", "onnx", "onnxruntime", "cv2", "scipy", "openvino", "transformers", "tensorrt"}
LATE = {"aiohttp", "grpc", "numpy", "PIL", "tritonclient"}


def loaded_by(code: str) -> set[str]:
    """Top-level names in ``sys.modules`` after ``code`` ran in a fresh interpreter."""
    report = "import json, sys\nprint(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    script = f"{code}\n{report}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def modules() -> list[str]:
    found = pkgutil.walk_packages(mmms_client.__path__, "mmms_client.")
    return sorted(module.name for module in found if not module.name.endswith("__main__"))


def test_no_module_of_the_client_loads_a_deep_learning_or_vision_stack() -> None:
    assert not loaded_by("\n".join(f"import {name}" for name in modules())) & FORBIDDEN


def test_importing_the_package_or_the_command_loads_nothing_heavy() -> None:
    assert not loaded_by("import mmms_client, mmms_client.errors") & (FORBIDDEN | LATE)
    quietly = "with contextlib.redirect_stdout(io.StringIO()): c.run(['--version'])"
    help_text = f"import contextlib, io, mmms_client.cli as c\n{quietly}"
    assert not loaded_by(help_text) & (FORBIDDEN | LATE)


def test_files_and_sessions_need_no_grpc() -> None:
    assert not loaded_by("from mmms_client import Session, open_inputs, read_session") & {
        "grpc",
        "tritonclient",
    }


def test_only_the_app_loads_its_web_server() -> None:
    others = [n for n in modules() if not n.startswith("mmms_client.annotate.")]
    quiet = ["document", "encoding", "images", "model", "open_image", "operations", "pictures", "project", "workplace"]
    code = "\n".join(f"import {name}" for name in [*others, *(f"mmms_client.annotate.{name}" for name in quiet)])
    assert "aiohttp" not in loaded_by(code)
    assert "aiohttp" in loaded_by("import mmms_client.annotate.server")


def test_this_test_can_fail() -> None:
    pytest.importorskip("cv2")
    assert "cv2" in loaded_by("import mmms_client, cv2") & FORBIDDEN
    assert "PIL" in loaded_by("import mmms_client; mmms_client.read_image") & LATE


def test_public_names() -> None:
    assert sorted(mmms_client.__all__) == sorted(mmms_client._HOME_OF)
    assert set(mmms_client.__all__) <= set(dir(mmms_client))
    for name in mmms_client.__all__:
        if "Triton" not in name:
            assert getattr(mmms_client, name).__module__.startswith("mmms_client.")
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = mmms_client.nothing
