"""What an export was made of (``manifest.json``: the same for the same checkpoint) and what was measured on this
machine (``measurements.json``: versions, device, differences)."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

from mmms_client.contract import ModelContract
from mmms_client.files import write_text_atomically
from mmms_export.parity import ParityReport
from mmms_export.repository import Target
from mmms_export.to_onnx import OPSET

_PACKAGES = (
    "mmms",
    "torch",
    "transformers",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "openvino",
    "tensorrt",
    "tensorrt-rtx",
    "numpy",
)


def write_manifest(root: Path, contract: ModelContract, target: Target, files: dict[str, bytes]) -> Path:
    """Write ``manifest.json`` beside the models. ``files`` by relative path."""
    document = {
        "contract": contract.to_parameters(),
        "target": target.name,
        "opset": OPSET,
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())},
    }
    path = root / "manifest.json"
    write_text_atomically(path, json.dumps(document, indent=2, sort_keys=True) + "\n")
    return path


def write_measurements(path: Path, report: ParityReport | None, extra: dict[str, Any]) -> None:
    """Write what was measured and on what."""
    document = {
        "device": device_name(),
        "versions": installed_versions(),
        "parity": report.to_dict() if report else None,
        **extra,
    }
    write_text_atomically(path, json.dumps(document, indent=2, sort_keys=True) + "\n")


def installed_versions() -> dict[str, str]:
    """Versions of the packages that an export depends on, those that are installed."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def device_name() -> str:
    """The processor's name as the operating system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
