"""Rules of the files around the code: folders, settings that are shipped, documents, pins."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.house.sources import tracked
from tests.support.paths import ROOT

FOLDERS = {"contraband", "blockwise", "configs", "experiments", "deploy", "tests"}
# Written in pieces, or this file would break its own rule.
ADDRESSES = re.compile(
    "|".join(
        [
            r"py{}\.org".format("pi"),
            r"download\.{}torch\.org".format("py"),
            "--(extra-)?index{}".format("-url"),
            "--find{}".format("-links"),
        ]
    )
)
HOMES = re.compile(r"(?<![A-Za-z0-9_.$}~-])/(home|root|Users|w[o]rk)/\w")
BINARY = {".png", ".npz", ".npy", ".gif", ".jpg"}


def test_the_top_level_is_as_the_architecture_says():
    """The folders at the top are the six of the architecture, hidden ones apart."""
    found = {name.split("/")[0] for name in tracked() if "/" in name}
    assert {name for name in found if not name.startswith(".")} == FOLDERS


def test_no_file_names_a_package_index_or_someones_folder():
    """Files work on any machine: no address of a package index, no absolute path of a home."""
    names = [name for name in tracked() if not name.endswith(tuple(BINARY))]
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in names}
    assert not [name for name, text in texts.items() if ADDRESSES.search(text) or HOMES.search(text)]


def test_constraints_pin_every_dependency():
    """constraints.txt holds an exact version for each dependency, and for the dependencies of those."""
    pins = {canonicalize_name(line.partition("==")[0]) for line in pinned()}
    assert not sorted(needed() - pins)


def test_constraints_are_exact_and_sorted():
    """Each line is `name==version`, in order, and nothing else."""
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[^\s+;]+", line) for line in pinned())
    assert pinned() == sorted(pinned(), key=str.upper)


@pytest.mark.parametrize("name", [name for name in tracked() if re.match(r"configs/.*\.yaml$", name)])
def test_shipped_volume_settings_load(name):
    """Every settings file in configs/ is accepted as it is."""
    from contraband.volumes.settings import load_volume_settings

    assert load_volume_settings(ROOT / name)


@pytest.mark.parametrize("name", [name for name in tracked() if name.endswith("/param_dict.json")])
def test_shipped_experiments_load(name):
    """Every param_dict.json in experiments/ is accepted as it is."""
    from contraband.experiments.params import load_params

    assert load_params(ROOT / name)


def pinned() -> list[str]:
    """The lines of constraints.txt."""
    return (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


def needed() -> set[str]:
    """All packages that an installation with every extra brings in."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    open_ends = [Requirement(line) for group in groups for line in group]
    found: set[tuple[str, str]] = set()
    while open_ends:
        requirement = open_ends.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras} - {extra for seen, extra in found if seen == name}:
            found.add((name, extra))
            for line in requires(name) or []:
                further = Requirement(line)
                if further.marker is None or further.marker.evaluate({"extra": extra}):
                    open_ends.append(further)
    return {name for name, _ in found}
