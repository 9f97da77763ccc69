"""The launcher: finds a server, passes everything on, adds only what is absent."""

from __future__ import annotations

import mmap
import stat
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest

from mmms_server import launcher
from mmms_server.install import install
from mmms_server.launcher import (
    LauncherError,
    Server,
    cached_entry_bytes,
    find_server,
    model_repositories,
    remove_orphans,
    with_defaults,
)
from mmms_server.process import ServerProcess, ServerStartError

REPOSITORY = Path(__file__).parents[2] / "model_repository"
ON_PATH = Server(Path("/opt/tritonserver/bin/tritonserver"), None)


def program(folder: Path, text: str = "#!/bin/sh\n") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tritonserver"
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_server_further_down_the_path_wins_over_the_wheel(tmp_path: Path) -> None:
    own = install(tmp_path, sys.executable)
    real = program(tmp_path / "real")
    assert find_server(f"{tmp_path}:{tmp_path / 'real'}", own) == Server(real, None)


def test_launcher_of_another_environment_is_not_taken_for_a_server(tmp_path: Path, server_extra: None) -> None:
    (tmp_path / "other").mkdir()
    install(tmp_path / "other", "/somewhere/python")
    assert find_server(str(tmp_path / "other"), tmp_path / "tritonserver").wheel is not None


def test_no_server_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(launcher.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(LauncherError, match=r"pip install 'mmms\[server\]'"):
        find_server(str(tmp_path), tmp_path / "tritonserver")


def test_installing_does_not_replace_somebody_elses_server(tmp_path: Path) -> None:
    program(tmp_path)
    with pytest.raises(FileExistsError, match="another program"):
        install(tmp_path, sys.executable)


def test_shared_memory_of_killed_servers_is_given_back(tmp_path: Path) -> None:
    """What nobody has open and is not of this minute; a live server's is left alone."""
    names = [f"triton_python_backend_shm_region_{uuid4()}" for _ in range(3)] + ["mmms-1-2", "somebody-elses"]
    for name in names:
        (tmp_path / name).write_bytes(bytes(4096))
    later_s = time.time() + 120
    with (tmp_path / names[1]).open("r+b") as stream, mmap.mmap(stream.fileno(), 4096):
        assert remove_orphans(tmp_path, now_s=time.time()) == [], "of this minute: somebody may be starting"
        assert sorted(remove_orphans(tmp_path, now_s=later_s)) == sorted([names[0], names[2]])
    assert {path.name for path in tmp_path.iterdir()} == set(names) - {names[0], names[2]}
    assert remove_orphans(tmp_path, now_s=later_s) == [names[1]]


def test_given_options_are_passed_on_and_not_doubled() -> None:
    given = [
        "--model-repository",
        str(REPOSITORY),
        "--cache-config",
        "local,size=5",
        "--grpc-address=0.0.0.0",
        "--log-verbose",
        "1",
    ]
    result = with_defaults(given, ON_PATH, {})
    assert result[: len(given)] == given
    added = result[len(given) :]
    assert "--http-address=127.0.0.1" in added
    assert not any(a.startswith(("--cache-config", "--grpc-address", "--backend-directory")) for a in added)


def test_help_is_passed_through_untouched() -> None:
    assert with_defaults(["--help"], ON_PATH, {}) == ["--help"]


def test_cache_is_sized_from_the_features() -> None:
    from mmms_client.contract import ModelContract

    manifest = __import__("json").loads((REPOSITORY / "manifest.json").read_text())
    contract = ModelContract.from_parameters(manifest["contract"])
    assert cached_entry_bytes(REPOSITORY) == contract.features.size_bytes
    (option,) = (a for a in with_defaults([f"--model-repository={REPOSITORY}"], ON_PATH, {}) if "cache-config" in a)
    assert int(option.rpartition("=")[2]) >= 100 * contract.features.size_bytes
    (small,) = (
        a
        for a in with_defaults([f"--model-repository={REPOSITORY}"], ON_PATH, {"MMMS_CACHE_IMAGES": "1000"})
        if "cache-config" in a
    )
    assert int(small.rpartition("=")[2]) >= 1000 * contract.features.size_bytes


CACHED = 'response_cache { enable: true }\noutput [ { name: "a" data_type: TYPE_FP16 dims: [ %s ] } ]\n'


@pytest.mark.parametrize("dims", ["3, ,2", "1-2", "1 2", "9" * 5000, "9" * 400, ", ".join(["999999999"] * 300)])
def test_a_configuration_that_cannot_be_does_not_keep_the_server_from_starting(tmp_path: Path, dims: str) -> None:
    """The size of the cache is a guess; what is wrong with the model, the server says."""
    for name, text in (("odd", CACHED % dims), ("good", CACHED % "-1, 1000")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.pbtxt").write_text(text)
    assert cached_entry_bytes(tmp_path) == 2000
    (tmp_path / "folder" / "config.pbtxt").mkdir(parents=True)
    assert any("cache-config" in a for a in with_defaults([f"--model-repository={tmp_path}"], ON_PATH, {}))


@pytest.mark.parametrize("images", ["many", "", "-1", "1.5", "9" * 5000, "9" * 400])
def test_a_number_of_cached_images_that_is_none_is_said_in_one_line(images: str) -> None:
    with pytest.raises(
        LauncherError, match=r"^expected MMMS_CACHE_IMAGES to be a whole .* but got '.*'; correct it"
    ) as e:
        with_defaults([f"--model-repository={REPOSITORY}"], ON_PATH, {"MMMS_CACHE_IMAGES": images})
    assert len(str(e.value)) < 200


def test_both_spellings_of_the_repository_option() -> None:
    assert model_repositories(["--model-repository", "a", "--model-repository=b"]) == [Path("a"), Path("b")]


def test_backend_directory_holds_the_stub_of_this_python(
    server_extra: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    server = find_server("", tmp_path / "tritonserver")
    assert server.wheel is not None
    folder = launcher.backend_directory(server.wheel) / "python"
    assert {"libtriton_python.so", "triton_python_backend_stub", "triton_python_backend_utils.py"} <= {
        p.name for p in folder.iterdir()
    }
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert version in str((folder / "triton_python_backend_stub").resolve())
    assert launcher.backend_directory(server.wheel) == folder.parent


def test_typed_command_answers_help(server_extra: None, tmp_path: Path) -> None:
    command = install(tmp_path, sys.executable)
    done = subprocess.run([str(command), "--help"], capture_output=True, text=True, timeout=60)
    assert "--model-repository" in done.stdout + done.stderr


def test_server_that_cannot_start_shows_its_log(server_extra: None, tmp_path: Path) -> None:
    with pytest.raises(ServerStartError, match="ended with code"):
        ServerProcess(tmp_path / "no-such-repository", tmp_path / "log").start(60)


STARTS_AND_WAITS = """
import sys, time
from pathlib import Path
from mmms_server.process import ServerProcess
server = ServerProcess(Path(sys.argv[1]), Path(sys.argv[2])).start()
print(server.process.pid, flush=True)
time.sleep(600)
"""


def test_a_server_ends_when_the_program_that_started_it_is_killed(server_extra: None, tmp_path: Path) -> None:
    command = [sys.executable, "-c", STARTS_AND_WAITS, str(REPOSITORY), str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        server = int(program.stdout.readline())
        in_group = [entry for entry in Path("/proc").iterdir() if group_of(entry) == server]
        program.kill()
    assert len(in_group) > 1  # its stages, too
    deadline = time.monotonic() + 60
    while any(group_of(entry) == server for entry in in_group):
        assert time.monotonic() < deadline, "the server is still there"
        time.sleep(0.1)


def group_of(process: Path) -> int | None:
    """The process group of an entry of /proc; None for what is no process, or ended."""
    try:
        state, _, group = (process / "stat").read_text().rpartition(")")[2].split()[:3]
    except OSError:
        return None
    return None if state == "Z" else int(group)
