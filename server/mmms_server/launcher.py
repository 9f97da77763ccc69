"""Finds a Triton server and starts it with the defaults that a laptop needs.

``tritonserver --model-repository model_repository`` should work as typed. Two kinds of server exist: one further down
the path (the official container) and the one inside the ``nvidia-pytriton`` wheel. The second needs a backend
directory that holds the python backend and the stub of the running Python side by side, a cache directory, and an
interpreter for its stubs. Every option that the caller gives is passed on unchanged; a default is added only where the
option is absent.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

CACHED_IMAGES = 128  # images whose features the response cache should hold; MMMS_CACHE_IMAGES overrides
_MIN_CACHE_BYTES = 64 << 20
_ENTRY_OVERHEAD = 1.10  # the local cache stores a little more than the tensor
_SHM_BYTES = 16 << 20  # per python model: image, modalities and features of one request without growing
_TYPE_BYTES = {"TYPE_FP16": 2, "TYPE_FP32": 4, "TYPE_UINT8": 1, "TYPE_INT32": 4}
_MOST_BYTES = 1 << 40  # of an answer: a configuration that says more is no model's
_MOST_IMAGES = 10**9
_LONGEST = 60  # characters of a wrong value that a message repeats
_IS_CACHED = re.compile(r"response_cache ?:? ?\{ ?enable ?: ?true")
_OUTPUTS, _END = re.compile(r"\boutput ?:? ?\["), re.compile(r"\} ?\]")
_TENSOR = re.compile(r"data_type ?: ?(\w+) dims ?: ?\[([\d, -]+)\]")
_SHM_FOLDER, _SHM_PATTERN = Path("/dev/shm"), "triton_python_backend_shm_region_*"
_STARTING_S = 60.0  # a server that begins makes its memory a moment before its processes open it


class LauncherError(Exception):
    """The server cannot be started; the message says what to do."""


@dataclass(frozen=True)
class Server:
    """A server binary; ``wheel`` is the folder of the wheel's server, ``None`` for one found on the path."""

    binary: Path
    wheel: Path | None


def find_server(path: str, launcher: Path) -> Server:
    """The first ``tritonserver`` on ``path`` that is not this launcher, else the wheel's.

    Raises :class:`LauncherError` when there is neither.
    """
    for folder in path.split(os.pathsep):
        candidate = Path(folder) / "tritonserver"
        if candidate.is_file() and os.access(candidate, os.X_OK) and not _is_launcher(candidate, launcher):
            return Server(candidate, None)
    spec = importlib.util.find_spec("pytriton")
    if spec is not None and spec.origin is not None:
        wheel = Path(spec.origin).parent / "tritonserver"
        if (wheel / "bin" / "tritonserver").is_file():
            return Server(wheel / "bin" / "tritonserver", wheel)
    raise LauncherError(
        "expected a Triton server on the path or in this environment but found none; "
        "install one with: pip install 'mmms[server]'"
    )


def with_defaults(arguments: Sequence[str], server: Server, environment: Mapping[str, str]) -> list[str]:
    """The caller's arguments followed by the defaults that they leave open."""
    given = {a.split("=", 1)[0] for a in arguments if a.startswith("--")}
    added: list[str] = []

    def default(option: str, value: str) -> None:
        if option not in given:
            added.append(f"{option}={value}")

    if "--help" in given or "--version" in given:
        return list(arguments)
    default("--http-address", "127.0.0.1")
    default("--grpc-address", "127.0.0.1")
    if not ({"--cache-config", "--response-cache-byte-size"} & given):
        added.append(f"--cache-config=local,size={cache_bytes(model_repositories(arguments), environment)}")
    if not any("shm-default-byte-size" in a for a in arguments):
        added.append(f"--backend-config=python,shm-default-byte-size={_SHM_BYTES}")
    if server.wheel is not None:
        default("--backend-directory", str(backend_directory(server.wheel)))
        default("--cache-directory", str(server.wheel / "caches"))
        default("--allow-gpu-metrics", "false")
    return [*arguments, *added]


def backend_directory(wheel: Path) -> Path:
    """A folder with the python backend, its module and the stub of this Python side by side, as symbolic links.

    Raises :class:`LauncherError` when the wheel has no stub for this Python.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = wheel / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.is_file():
        known = ", ".join(sorted(p.name for p in (wheel / "python_backend_stubs").iterdir()))
        raise LauncherError(
            f"expected a Python that the server has a stub for ({known}) but this is {version}; make the environment "
            "with one of these"
        )
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmms"
    key = re.sub(r"[^A-Za-z0-9.]+", "-", str(wheel)).strip("-")
    directory = cache / f"triton-backends-{version}-{key}"
    sources = [stub, *(p for p in (wheel / "backends" / "python").iterdir() if p.is_file())]
    if all((directory / "python" / p.name).resolve() == p.resolve() for p in sources):
        return directory
    cache.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=cache))
    (fresh / "python").mkdir()
    for source in sources:
        (fresh / "python" / source.name).symlink_to(source)
    shutil.rmtree(directory, ignore_errors=True)
    fresh.rename(directory)
    return directory


def cache_bytes(repositories: Sequence[Path], environment: Mapping[str, str]) -> int:
    """Size of the response cache: room for the features of ``CACHED_IMAGES`` images, at most a quarter of the
    memory.

    Raises :class:`LauncherError` for a number of images that is none.
    """
    entry = max((cached_entry_bytes(r) for r in repositories), default=0)
    images = _cached_images(environment.get("MMMS_CACHE_IMAGES", str(CACHED_IMAGES)))
    wanted = max(_MIN_CACHE_BYTES, int(entry * images * _ENTRY_OVERHEAD))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(min(wanted, memory // 4), int(2 * entry * _ENTRY_OVERHEAD))


def _cached_images(given: str) -> int:
    with suppress(ValueError):  # no number, or one of thousands of digits
        if 0 <= int(given) <= _MOST_IMAGES:
            return int(given)
    shown = given if len(given) <= _LONGEST else given[:_LONGEST] + "..."
    raise LauncherError(
        f"expected MMMS_CACHE_IMAGES to be a whole number from 0 to {_MOST_IMAGES} but got {shown!r}; correct it, or "
        f"leave it out for {CACHED_IMAGES}"
    )


def cached_entry_bytes(repository: Path) -> int:
    """Bytes of the largest entry that the models of a repository put into the response cache; 0 if none is cached.

    A configuration that cannot be read counts as none: the server says what is wrong with it.
    """
    return max((_answer_bytes(config) for config in repository.glob("*/config.pbtxt")), default=0)


def _answer_bytes(config: Path) -> int:
    """Bytes of a model's cached outputs; 0 for one that is not cached, or that cannot be."""
    try:
        text = config.read_text(encoding="utf-8", errors="replace")
        text = " ".join(re.sub(r"#.*", "", text).split())  # one space at most: patterns then cost what the text is long
        if not _IS_CACHED.search(text):
            return 0
        begin = _OUTPUTS.search(text)
        end = _END.search(text, begin.end()) if begin else None
        outputs = text[begin.end() : end.start()] if begin and end else ""
        total = sum(_tensor_bytes(dtype, dims) for dtype, dims in _TENSOR.findall(outputs))
    except (OSError, ValueError):
        return 0
    return total if total <= _MOST_BYTES else 0


def _tensor_bytes(dtype: str, dims: str) -> int:
    """Raises ``ValueError`` for dimensions that are no numbers."""
    size = _TYPE_BYTES.get(dtype, 8)
    for dim in dims.split(","):
        size = min(size * max(1, int(dim)), _MOST_BYTES + 1)
    return size


def remove_orphans(folder: Path = _SHM_FOLDER, now_s: float | None = None) -> list[str]:
    """Give shared memory back that servers left which were killed: some 16 MiB for each stage, until the machine is
    started anew or has none left. What a process of this host still has open is left alone; returns the names.
    """
    now_s = time.time() if now_s is None else now_s
    ours = [path for path in folder.glob(_SHM_PATTERN) if _is_old(path, now_s)]
    if not ours:
        return []
    in_use = "".join(_maps(process) for process in Path("/proc").glob("[0-9]*"))
    orphans = [path for path in ours if path.name not in in_use]
    for path in orphans:
        path.unlink(missing_ok=True)
    return [path.name for path in orphans]


def _is_old(path: Path, now_s: float) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    return found.st_uid == os.getuid() and abs(now_s - found.st_ctime) > _STARTING_S


def _maps(process: Path) -> str:
    try:
        return (process / "maps").read_text(encoding="utf-8", errors="replace")
    except OSError:  # it ended, or is not ours: then our memory is not open there
        return ""


def model_repositories(arguments: Sequence[str]) -> list[Path]:
    """The folders named by ``--model-repository`` (or ``--model-store``), in both spellings."""
    found, options = [], ("--model-repository", "--model-store")
    for index, argument in enumerate(arguments):
        option, separator, value = argument.partition("=")
        if option in options:
            if not separator and index + 1 < len(arguments):
                value = arguments[index + 1]
            found.append(Path(value))
    return found


def main() -> None:
    """Replace this process by the server."""
    launcher = Path(sys.argv[0]).resolve()
    environment = dict(os.environ)
    try:
        server = find_server(environment.get("PATH", ""), launcher)
        arguments = with_defaults(sys.argv[1:], server, environment)
        remove_orphans()
    except LauncherError as error:
        sys.stderr.write(f"tritonserver: error: {error}\n")
        sys.exit(1)
    if server.wheel is not None:
        # the stub starts the first python3 on the path: it must be the one that has the engines
        environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")])
        environment.setdefault("PYTHONNOUSERSITE", "1")
    os.execve(server.binary, [str(server.binary), *arguments], environment)


def _is_launcher(candidate: Path, launcher: Path) -> bool:
    if candidate.resolve() == launcher:
        return True
    with candidate.open("rb") as handle:
        return b"mmms_server" in handle.read(512)


if __name__ == "__main__":
    main()
