"""The checks of `make gpu` tried on a CPU: each gives its lines, none stops another, and the exit codes tell."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.benchmarks.report import Row
from tests.gpu.__main__ import CHECKS, NO_DEVICE, main
from tests.gpu.trial import LeftOut, Trial
from tests.support.paths import ROOT

LIST = ROOT / "deploy" / "requirements-gpu-checks.txt"
ON_A_GPU = {"busy", "compiled"}
"""Checks that have nothing to look at on a CPU."""
BEGINS = {
    "compile": "compile:",
    "tiles": "tile:",
    "groups": "worker groups",
    "shared": "two workers",
    "several": "workers on one",
}
"""How their lines begin, where that is not their name."""
OURS = {"blockwise", "contraband", "tests"}
OPTIONAL = {"Cython", "cython", "scipy"}
"""numba readies SciPy's linear algebra when it compiles, which is Cython's, and does without where it is absent."""


SCRIPT = """
import sys
from pathlib import Path
from tests.gpu.__main__ import main
code = main(["--device", "cpu", "--quick", "--limit", "3000", "--json", sys.argv[1]])
Path(sys.argv[2]).write_text(" ".join(sorted({name.partition(".")[0] for name in sys.modules})))
sys.exit(code)
"""
"""Of all checks, in a process that has loaded nothing else."""
BROUGHT = {"torch", "numba", "numpy"}
"""Packages that are there with torch and numba; what these need themselves comes with them."""


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, str]], set[str], str]:
    """The lines of all checks on a CPU, the modules that were loaded, and what was said."""
    folder = tmp_path_factory.mktemp("gpu")
    path, modules = folder / "gpu.json", folder / "modules"
    command = [sys.executable, "-c", SCRIPT, str(path), str(modules)]
    done = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    return json.loads(path.read_text())["lines"], set(modules.read_text().split()), done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_a_check_passes_on_a_cpu(name: str, tried: tuple[list[dict[str, str]], set[str], str]) -> None:
    """Every check has lines of its own and none fails, or says why it has nothing to look at."""
    lines = [line for line in tried[0] if line["check"].startswith(BEGINS.get(name, name))]
    assert lines
    verdicts = {line["verdict"] for line in lines}
    assert verdicts == {"left out"} if name in ON_A_GPU else verdicts <= {"ok", ""}
    assert all(line["check"] in tried[2] and line["figure"] in tried[2] for line in lines)


def test_what_is_loaded_is_on_the_list(tried: tuple[list[dict[str, str]], set[str], str]) -> None:
    """The checks load no package that is neither on the list of wheels nor comes with torch and numba."""
    allowed = listed() | with_needs(BROUGHT)
    homes = packages_distributions()
    loaded = {name for name in tried[1] if name in homes}
    assert {"zarr", "distributed"} <= loaded
    strange = {name for name in loaded if not {canonicalize_name(home) for home in homes[name]} & allowed}
    assert strange - OURS - OPTIONAL == set()


def test_the_list_is_whole_and_small() -> None:
    """With everything on the list all that it needs is on the list; torch, gunpowder and SciPy are not."""
    needed = with_needs(listed())
    assert needed - with_needs(BROUGHT) <= listed()
    assert not listed() & {"torch", "gunpowder", "scipy", "openvino"}


def listed() -> set[str]:
    """The packages of the list of wheels."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    return {canonicalize_name(Requirement(line).name) for line in lines if line and not line.startswith("#")}


def with_needs(names: Iterable[str]) -> set[str]:
    """Packages with all that they need, as far as it is installed here."""
    found: set[str] = set()
    todo = {canonicalize_name(name) for name in names}
    while todo:
        name = todo.pop()
        found.add(name)
        with suppress(PackageNotFoundError):
            needs = [Requirement(line) for line in requires(name) or ()]
            todo |= {
                canonicalize_name(one.name) for one in needs if one.marker is None or one.marker.evaluate({"extra": ""})
            }
        todo -= found
    return found


def fine(trial: Trial) -> Iterator[Row]:
    """Reaches what is wanted."""
    yield Row("fine", 1.0, "", "<= 1")


def poor(trial: Trial) -> Iterator[Row]:
    """Does not."""
    yield Row("poor", 2.0, "", "<= 1")


def broken(trial: Trial) -> Iterator[Row]:
    """Has one figure, and ends with an error of two lines."""
    yield Row("half", 0.5, "", "<= 1")
    raise RuntimeError("an illegal\nmemory access")


def strange(trial: Trial) -> Iterator[Row]:
    """Finds no number, for which nothing was wanted."""
    yield Row("strange", float("nan"), "of 1")


def absent(trial: Trial) -> Iterator[Row]:
    """Has nothing to look at."""
    raise LeftOut("no such thing here")
    yield


def test_one_table_has_all_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A check that fails or raises has its line, those after it go on, and the exit code is 1; else it is 0."""
    path = tmp_path / "gpu.json"
    arguments = ["--device", "cpu", "--json", str(path)]
    checks = {"broken": broken, "poor": poor, "strange": strange, "absent": absent, "fine": fine}
    assert main(arguments, checks) == 1
    found = [(line["check"], line["verdict"]) for line in json.loads(path.read_text())["lines"]]
    assert found == [
        ("half", "ok"),
        ("broken", "FAILED"),
        ("poor", "FAILED"),
        ("strange", "FAILED"),
        ("absent", "left out"),
        ("fine", "ok"),
    ]
    assert "RuntimeError: an illegal memory access" in capsys.readouterr().out
    assert main(arguments, {"absent": absent, "fine": fine}) == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_one_line_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is 3 and nothing is written."""
    assert main(["--json", str(tmp_path / "gpu.json")]) == NO_DEVICE == 3
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_out_of_time_is_a_failure(tmp_path: Path) -> None:
    """A check that would begin too late is not begun, and that is no success."""
    arguments = ["--device", "cpu", "--json", str(tmp_path / "gpu.json")]
    assert main([*arguments, "--limit", "-1"], {"fine": fine}) == 1
    assert main(arguments, {"fine": fine}) == 0
