"""What an export was made of (``manifest.json``: the same for the same checkpoint) and what was measured on this
machine (``measurements.json``: versions, device, differences)."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
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


# what /proc/cpuinfo calls them, and what they are called: wide products, and products in bf16
_VECTOR_UNITS = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "AVX-512 BF16", "amx_bf16": "AMX BF16"}


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
    """The processor's name as the operating system gives it, its cores, and what decides its speed here."""
    fields = _processor()
    name = fields.get("model name") or platform.processor() or platform.machine()
    flags = set(fields.get("flags", "").split())
    features = [shown for flag, shown in _VECTOR_UNITS.items() if flag in flags]
    return ", ".join([name, f"{_cores()} cores", " ".join(features) or "no vector units known"])


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> dict[str, str]:
    """What the operating system says of the first processor."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        return {}
    first = cpuinfo.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
