"""A Triton model repository as text files and graphs. `config.pbtxt` is written to be read by people.

::

    backbone/       image -> F1..F4                       python backend (or onnxruntime, tensorrt)
    fuser/          F1..F4, modalities -> features        the same
    backbone_fuser/ ensemble of the two, the cached one   ensemble, response cache on
    csnet/          features, clicks -> mask              the same engine, once per click
    mmms/           ensemble backbone_fuser -> csnet      what a client calls; holds the contract as parameters
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmms_client.contract import ModelContract, ModelSpec, TensorSpec
from mmms_client.files import make_folder, write_bytes_atomically, write_text_atomically
from mmms_export.engines import TEMPLATES

GPU_TARGETS = ("tensorrt",)
_ONCE_PER_IMAGE = ("backbone", "fuser")
_GRAPH_FILES = {"tensorrt": "model.plan", "tensorrt-rtx": "model.engine"}
_ENGINE_PARAMETERS = {"cpu": "openvino", "tensorrt-rtx": "tensorrt-rtx"}
_DEVICE_FEATURES = "device_features"
_OF_STAGE = ("engine", "precision")  # parameters that a stage of the python backend has already

_ABOUT = {
    "backbone": "The frozen image backbone: normalisation and vision transformer. Nothing of ours inside.",
    "fuser": "ParallelFPN and MMFuser: backbone features and modalities to one packed tensor.",
    "backbone_fuser": "Everything that happens once per image. The only cached model: it has one output, so that a "
    "cache\n"
    "# entry can never be partial.",
    "csnet": "Everything that happens once per click. Stateless: all clicks and the previous mask come with each "
    "request.",
    "mmms": "What a client calls: encode (from the cache after the first click) and answer the click.",
    "features_to_host": "Copies the features from GPU to CPU memory, where the response cache can store them.",
}


@dataclass(frozen=True)
class Target:
    """What the stages run on. ``precision`` is that of the arithmetic inside a stage."""

    name: str  # cpu, onnxruntime, tensorrt, tensorrt-rtx
    precision: str

    @property
    def engine(self) -> str:
        return _ENGINE_PARAMETERS.get(self.name, self.name)

    @property
    def graph_file(self) -> str:
        return _GRAPH_FILES.get(self.name, "model.onnx")

    @property
    def uses_python_backend(self) -> bool:
        return self.name in _ENGINE_PARAMETERS


def write_repository(root: Path, contract: ModelContract, target: Target, graphs: Mapping[str, bytes]) -> list[Path]:
    """Write all files of a repository atomically, one by one. ``graphs`` by stage; some stages, if not all are served
    here. Returns the text files written.
    """
    texts = repository_texts(contract, target, tuple(graphs))
    for relative, text in texts.items():
        make_folder((root / relative).parent)
        write_text_atomically(root / relative, text)
    for stage, data in graphs.items():
        make_folder(root / stage / "1")
        write_bytes_atomically(root / stage / "1" / target.graph_file, data)
    return [root / relative for relative in texts]


def repository_texts(
    contract: ModelContract, target: Target, stages: Sequence[str] = ("backbone", "fuser", "csnet")
) -> dict[str, str]:
    """Every text file of a repository by its path relative to the root.

    With some of the stages only there are no ensembles; each stage then holds the contract as parameters.
    """
    if len(stages) < 3:
        return _partial_texts(contract, target, stages)
    specs = contract.models()
    on_gpu = target.name in GPU_TARGETS
    texts: dict[str, str] = {}
    for name in ("backbone", "fuser", "csnet"):
        texts[f"{name}/config.pbtxt"] = _stage_config(specs[name], target)
        if target.uses_python_backend:
            texts[f"{name}/1/model.py"] = (TEMPLATES / "model.py").read_text(encoding="utf-8")
    if on_gpu:
        texts["features_to_host/config.pbtxt"] = _handoff_config(contract)
        texts["features_to_host/1/model.py"] = (TEMPLATES / "handoff.py").read_text(encoding="utf-8")
    encode_steps = [_step(specs["backbone"]), _step(specs["fuser"])]
    if on_gpu:
        encode_steps[1] = _step(specs["fuser"], {"features": _DEVICE_FEATURES})
        encode_steps.append(
            _step_of("features_to_host", [(_DEVICE_FEATURES, _DEVICE_FEATURES)], [("features", "features")])
        )
    texts["backbone_fuser/config.pbtxt"] = _ensemble_config(
        specs["backbone_fuser"], encode_steps, "response_cache {\n  enable: true\n}\n"
    )
    click_steps = [_step(specs["backbone_fuser"]), _step(specs["csnet"])]
    parameters = "\n".join(_parameter(k, v) for k, v in contract.to_parameters().items()) + "\n"
    texts["mmms/config.pbtxt"] = _ensemble_config(specs["mmms"], click_steps, parameters)
    for name in ("backbone_fuser", "mmms"):  # a version directory that git would drop without a file in it
        texts[f"{name}/1/README"] = "An ensemble has no files of its own; Triton needs its version directory.\n"
    return texts


def _partial_texts(contract: ModelContract, target: Target, stages: Sequence[str]) -> dict[str, str]:
    texts: dict[str, str] = {}
    parameters = "\n".join(_parameter(k, v) for k, v in contract.to_parameters().items() if k not in _OF_STAGE) + "\n"
    for name in stages:
        own = "" if target.uses_python_backend else _parameter("engine", target.engine) + "\n"
        texts[f"{name}/config.pbtxt"] = _stage_config(contract.models()[name], target) + own + parameters
        if not target.uses_python_backend:
            texts[f"{name}/config.pbtxt"] += _parameter("precision", target.precision) + "\n"
        if target.uses_python_backend:
            texts[f"{name}/1/model.py"] = (TEMPLATES / "model.py").read_text(encoding="utf-8")
    return texts


def _stage_config(spec: ModelSpec, target: Target) -> str:
    backend = "python" if target.uses_python_backend else target.name
    lines = [
        _header(spec.name),
        f'backend: "{backend}"',
        f"max_batch_size: {spec.max_batch_size}",
        _ports(spec),
    ]
    if spec.name == "csnet":
        lines.append(
            "# Requests that wait together run together; priority 1 is a person's click, 2 (the default) anything "
            "else.\n"
            "dynamic_batching {\n  max_queue_delay_microseconds: 0\n  priority_levels: 2\n  default_priority_level: "
            "2\n}"
        )
    kind = "KIND_GPU" if target.name in GPU_TARGETS else "KIND_CPU"
    lines.append(f"instance_group [\n  {{ count: 1 kind: {kind} }}\n]")
    if target.uses_python_backend:
        lines += [_parameter("engine", target.engine), _parameter("precision", target.precision)]
        if spec.name in _ONCE_PER_IMAGE and target.name == "cpu":
            lines += ["# Clicks get the cores first: an encode runs at this niceness.", _parameter("nice", "10")]
    return "\n".join(lines) + "\n"


def _handoff_config(contract: ModelContract) -> str:
    features = contract.features
    spec = ModelSpec(
        "features_to_host", (TensorSpec(_DEVICE_FEATURES, features.dtype, features.shape),), (features,), 1
    )
    return (
        "\n".join(
            [
                _header(spec.name),
                'backend: "python"',
                f"max_batch_size: {spec.max_batch_size}",
                _ports(spec),
                "instance_group [\n  { count: 1 kind: KIND_CPU }\n]",
            ]
        )
        + "\n"
    )


def _ensemble_config(spec: ModelSpec, steps: Sequence[str], rest: str) -> str:
    scheduling = "ensemble_scheduling {\n  step [\n" + ",\n".join(steps) + "\n  ]\n}"
    head = [
        _header(spec.name),
        'platform: "ensemble"',
        f"max_batch_size: {spec.max_batch_size}",
        _ports(spec),
    ]
    return "\n".join([*head, scheduling, rest])


def _header(name: str) -> str:
    return f'# {_ABOUT[name]}\n# Written by mmms-export; change the exporter, not this file.\nname: "{name}"'


def _ports(spec: ModelSpec) -> str:
    def block(kind: str, tensors: Sequence[TensorSpec]) -> str:
        rows = [
            f'  {{ name: "{t.name}" data_type: TYPE_{t.dtype} dims: [ {", ".join(map(str, t.shape))} ] }}'
            for t in tensors
        ]
        return f"{kind} [\n" + ",\n".join(rows) + "\n]"

    return block("input", spec.inputs) + "\n" + block("output", spec.outputs)


def _step(spec: ModelSpec, output_names: Mapping[str, str] | None = None) -> str:
    renamed = output_names or {}
    return _step_of(
        spec.name,
        [(t.name, t.name) for t in spec.inputs],
        [(t.name, renamed.get(t.name, t.name)) for t in spec.outputs],
    )


def _step_of(model: str, inputs: Sequence[tuple[str, str]], outputs: Sequence[tuple[str, str]]) -> str:
    rows = [f'      input_map {{ key: "{key}" value: "{value}" }}' for key, value in inputs]
    rows += [f'      output_map {{ key: "{key}" value: "{value}" }}' for key, value in outputs]
    return "\n".join(["    {", f'      model_name: "{model}"', "      model_version: -1", *rows, "    }"])


def _parameter(key: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'parameters {{ key: "{key}" value {{ string_value: "{escaped}" }} }}'
