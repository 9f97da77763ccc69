"""A Triton model repository as text files and graphs. `config.pbtxt` is written to be read by people.

::

    backbone/       image -> F1..F4                       python backend (or onnxruntime, tensorrt)
    fuser/          F1..F4, modalities -> features        the same
    backbone_fuser/ ensemble of the two, the cached one   ensemble, response cache on
    csnet/          features, clicks -> mask              the same engine, once per click
    mmms/           ensemble backbone_fuser -> csnet      what a client calls; holds the contract as parameters

The one version directory of each model is numbered by the checkpoint (:func:`mmms_client.contract.model_version`), and
only that version is loaded: exporting another checkpoint into the folder of a running server changes nothing of what
it answers, ensembles cannot mix stages of two checkpoints, and no cache holds features of one for the other.
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
# Requests that wait for a stage; one more is refused, and the client tries again. About what is answered before
# a client's deadline of 30 s, at the paper's size on two cores.
MOST_WAITING = {"backbone": 64, "fuser": 64, "csnet": 256}
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

    The configurations come last: whoever is interrupted leaves what was served before, or a server that says what it
    lacks, and never one checkpoint's name on another's weights.
    """
    texts = repository_texts(contract, target, tuple(graphs))
    for stage, data in graphs.items():
        folder = make_folder(root / stage / str(contract.model_version))
        write_bytes_atomically(folder / target.graph_file, data)
    for relative in sorted(texts, key=lambda name: name.endswith(".pbtxt")):
        make_folder((root / relative).parent)
        write_text_atomically(root / relative, texts[relative])
    return [root / relative for relative in texts]


def other_versions(root: Path, contract: ModelContract) -> list[Path]:
    """Version directories of other checkpoints in a repository. No server loads them any more."""
    found = [path for name in contract.models() for path in (root / name).glob("[0-9]*") if path.is_dir()]
    return sorted(path for path in found if path.name != str(contract.model_version))


def repository_texts(
    contract: ModelContract, target: Target, stages: Sequence[str] = ("backbone", "fuser", "csnet")
) -> dict[str, str]:
    """Every text file of a repository by its path relative to the root.

    With some of the stages only there are no ensembles; each stage then holds the contract as parameters.
    """
    if len(stages) < 3:
        return _partial_texts(contract, target, stages)
    specs, number = contract.models(), contract.model_version
    on_gpu = target.name in GPU_TARGETS
    texts: dict[str, str] = {}
    for name in ("backbone", "fuser", "csnet"):
        texts[f"{name}/config.pbtxt"] = _stage_config(specs[name], target, number)
        if target.uses_python_backend:
            texts |= _programs(name, number)
    if on_gpu:
        texts["features_to_host/config.pbtxt"] = _handoff_config(contract)
        texts |= _programs("features_to_host", number, "handoff.py")
    encode_steps = [_step(specs["backbone"], number), _step(specs["fuser"], number)]
    if on_gpu:
        encode_steps[1] = _step(specs["fuser"], number, {"features": _DEVICE_FEATURES})
        ports = [(_DEVICE_FEATURES, _DEVICE_FEATURES)], [("features", "features")]
        encode_steps.append(_step_of("features_to_host", number, *ports))
    texts["backbone_fuser/config.pbtxt"] = _ensemble_config(
        specs["backbone_fuser"], number, encode_steps, "response_cache {\n  enable: true\n}\n"
    )
    click_steps = [_step(specs["backbone_fuser"], number), _step(specs["csnet"], number)]
    parameters = "\n".join(_parameter(k, v) for k, v in contract.to_parameters().items()) + "\n"
    texts["mmms/config.pbtxt"] = _ensemble_config(specs["mmms"], number, click_steps, parameters)
    for name in ("backbone_fuser", "mmms"):  # a version directory that git would drop without a file in it
        texts[f"{name}/{number}/README"] = "An ensemble has no files of its own; Triton needs its version directory.\n"
    return texts


def _programs(model: str, number: int, program: str = "model.py") -> dict[str, str]:
    """What the python backend runs, and who watches over it."""
    files = {"model.py": program, "guard.py": "guard.py"}
    return {f"{model}/{number}/{name}": (TEMPLATES / file).read_text("utf-8") for name, file in files.items()}


def _partial_texts(contract: ModelContract, target: Target, stages: Sequence[str]) -> dict[str, str]:
    texts: dict[str, str] = {}
    number = contract.model_version
    parameters = "\n".join(_parameter(k, v) for k, v in contract.to_parameters().items() if k not in _OF_STAGE) + "\n"
    for name in stages:
        own = "" if target.uses_python_backend else _parameter("engine", target.engine) + "\n"
        texts[f"{name}/config.pbtxt"] = _stage_config(contract.models()[name], target, number) + own + parameters
        if not target.uses_python_backend:
            texts[f"{name}/config.pbtxt"] += _parameter("precision", target.precision) + "\n"
        if target.uses_python_backend:
            texts |= _programs(name, number)
    return texts


def _stage_config(spec: ModelSpec, target: Target, number: int) -> str:
    backend = "python" if target.uses_python_backend else target.name
    lines = [
        _header(spec.name),
        f'backend: "{backend}"',
        _version_policy(number),
        f"max_batch_size: {spec.max_batch_size}",
        _ports(spec),
        _queue(spec.name),
    ]
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
                _version_policy(contract.model_version),
                f"max_batch_size: {spec.max_batch_size}",
                _ports(spec),
                "instance_group [\n  { count: 1 kind: KIND_CPU }\n]",
            ]
        )
        + "\n"
    )


def _queue(stage: str) -> str:
    """How requests wait for a stage. Batches of an encode are of one image each: there is nothing to wait for."""
    limit = f"  default_queue_policy {{ max_queue_size: {MOST_WAITING[stage]} }}\n"
    if stage != "csnet":
        return f"# A queue that is full refuses: the client tries again.\ndynamic_batching {{\n{limit}}}"
    return (
        "# Requests that wait together run together; priority 1 is a person's click, 2 (the default) anything else.\n"
        "# A queue that is full refuses: the client tries again.\n"
        "dynamic_batching {\n  max_queue_delay_microseconds: 0\n  priority_levels: 2\n  default_priority_level: 2\n"
        f"{limit}}}"
    )


def _version_policy(number: int) -> str:
    """The version to load, and no other that may lie beside it."""
    return f"version_policy {{ specific {{ versions: [ {number} ] }} }}"


def _ensemble_config(spec: ModelSpec, number: int, steps: Sequence[str], rest: str) -> str:
    scheduling = "ensemble_scheduling {\n  step [\n" + ",\n".join(steps) + "\n  ]\n}"
    head = [
        _header(spec.name),
        'platform: "ensemble"',
        _version_policy(number),
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


def _step(spec: ModelSpec, number: int, output_names: Mapping[str, str] | None = None) -> str:
    renamed = output_names or {}
    return _step_of(
        spec.name,
        number,
        [(t.name, t.name) for t in spec.inputs],
        [(t.name, renamed.get(t.name, t.name)) for t in spec.outputs],
    )


def _step_of(model: str, number: int, inputs: Sequence[tuple[str, str]], outputs: Sequence[tuple[str, str]]) -> str:
    rows = [f'      input_map {{ key: "{key}" value: "{value}" }}' for key, value in inputs]
    rows += [f'      output_map {{ key: "{key}" value: "{value}" }}' for key, value in outputs]
    return "\n".join(["    {", f'      model_name: "{model}"', f"      model_version: {number}", *rows, "    }"])


def _parameter(key: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'parameters {{ key: "{key}" value {{ string_value: "{escaped}" }} }}'
