"""The lower bounds of pyproject.toml are true: client, app and bench in an environment that has exactly those.

The only test that needs a package index, so it belongs to the long forms.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from PIL import Image

from app_client import page_at
from mmms_server.process import ServerProcess

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).resolve().parents[2]
STREET = ROOT / "samples" / "street"
EXTRAS = ("bench", "annotate")
# What the rooms need beside the product; whatever version goes with the bounds.
TOOLS = ("pytest", "hypothesis", "pytest-timeout", "scipy", "jsonschema", "tifffile", "pycocotools", "scikit-image")
_NO_INDEX = ("NewConnectionError", "Failed to establish", "Temporary failure in name resolution", "ProxyError")


def bounds() -> dict[str, str]:
    """The lowest version of each package that a user of client, app and bench gets, by name without extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    texts = [*project["dependencies"], *(t for extra in EXTRAS for t in project["optional-dependencies"][extra])]
    found = {}
    for text in texts:
        requirement = Requirement(text)
        (only,) = requirement.specifier
        assert only.operator == ">=", f"{text}: a lower bound and nothing else"
        found[requirement.name] = only.version
    return found


def test_every_dependency_has_a_lower_bound_and_nothing_more() -> None:
    assert {"numpy", "pillow", "tritonclient", "opencv-python-headless", "aiohttp"} <= set(bounds())


@pytest.fixture(scope="module")
def lowest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of programs of an environment with the bounds."""
    folder = tmp_path_factory.mktemp("lowest")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    pins = folder / "pins.txt"
    pins.write_text("".join(f"{name}=={version}\n" for name, version in bounds().items()))
    programs = folder / "venv" / "bin"
    pip = [programs / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", pins]
    done = subprocess.run([*pip, f"{ROOT}[{','.join(EXTRAS)}]", *TOOLS], capture_output=True, text=True, timeout=900)
    if done.returncode and any(said in done.stderr for said in _NO_INDEX):
        pytest.skip("no package index can be reached from here")
    assert done.returncode == 0, done.stderr
    yield programs


def run(*command: str | Path, timeout_s: float = 900) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s)
    assert done.returncode == 0, f"{command}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(2000)
def test_the_environment_has_the_bounds(lowest: Path, figures) -> None:
    listed = json.loads(run(lowest / "python", "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"))
    versions = {row["name"].lower(): row["version"] for row in listed}
    for name, version in bounds().items():
        assert re.fullmatch(rf"{re.escape(version)}(\.0)*", versions[name]), f"{name} {versions[name]}"
    figures("bounds-versions", lowest={name: versions[name] for name in bounds()})


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.timeout(1200)
def test_commands_and_app_do_with_the_bounds_what_they_do_here(
    lowest: Path, nano_server: ServerProcess, tmp_path: Path
) -> None:
    street = [STREET / "rgb.png", *(f"--modality={name}={STREET / name}.png" for name in ("thermal", "depth"))]
    client, url = lowest / "mmms-client", ["--url", nano_server.url]
    assert "ok    cache" in run(client, "doctor", *url)
    for who, program in (("lowest", [client]), ("here", [sys.executable, "-m", "mmms_client"])):
        run(*program, "annotate", *street, "--clicks", STREET / "session.json", "--out", tmp_path / who, *url)
        images = ["--dataset", "synthetic", "--images", "2", "--n-max", "4"]
        run(*program, "bench", *images, "--json", tmp_path / f"{who}.json", *url)
    maps = [np.asarray(Image.open(tmp_path / who / "joint.png")) for who in ("lowest", "here")]
    assert maps[0].any() and (maps[0] != maps[1]).mean() < 1e-4, "a last bit of a logarithm may differ, no more"
    surfaces = [
        [surface for image in json.loads((tmp_path / f"{who}.json").read_text())["evaluations"][0]["images"]
         for surface in image["surfaces"]]
        for who in ("lowest", "here")
    ]  # fmt: skip
    areas, firsts = ([[s[key] for s in some] for some in surfaces] for key in ("area_px", "ious"))
    assert len(areas[0]) > 5 and np.allclose(*areas, rtol=0.01), "the same scenes"
    assert abs(np.mean([ious[0] for ious in firsts[0]]) - np.mean([ious[0] for ious in firsts[1]])) < 0.01
    app = subprocess.Popen(
        [client, "annotate", *street, "--out", tmp_path / "app", "--no-browser", *url],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        assert app.stdout is not None
        address = next(line.split()[1] for line in app.stdout if line.startswith("open "))

        async def scenario() -> None:
            async with page_at(address) as page:
                await page.op("open", index=0)
                await page.op("click", surface=None, x=320, y=430, positive=True)
                await page.op("polygon", surface=1, points=[[10, 10], [40, 10], [10, 40]])
                assert page.joint[430, 320] == 1 == page.joint[15, 15]
                assert (await page.op("export", formats=["coco", "palette-png"], write=True))["written"]

        asyncio.run(scenario())
    finally:
        app.terminate()
        app.wait(30)
        assert app.stdout is not None
        app.stdout.close()


@pytest.mark.slow
@pytest.mark.timeout(2000)
@pytest.mark.parametrize("room", ["client", "eval"])
def test_the_rooms_pass_with_the_bounds(lowest: Path, room: str, figures) -> None:
    flags = ["-q", "-p", "no:cacheprovider", "-m", "not slow and not server"]
    said = run(lowest / "python", "-m", "pytest", *flags, f"tests/{room}", timeout_s=1800)
    passed = re.search(r"(\d+) passed", said)
    assert passed and int(passed[1]) > 300, said[-2000:]
    figures(f"bounds-tests-{room}", tests_passed=int(passed[1]))
