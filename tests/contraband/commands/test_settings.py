"""The command that lists every key of a settings file, and how it reads them from the classes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, PositiveInt
from pydantic_core import core_schema

from blockwise.settings import Settings, parse_yaml
from contraband.cli import call
from contraband.commands.keys import keys, sections
from contraband.commands.settings import commented, markdown
from contraband.experiments.params import Params, parse_params
from contraband.volumes.settings import VolumeSettings

FILES = {"volume": VolumeSettings, "experiment": Params}
EXPERIMENT = {
    "model": [{"in_shape": [60, 60]}],
    "contrastive": {"data_file": ["a.zarr"], "dataset": [["raw"]]},
    "seg": {"data_file": ["a.zarr"], "dataset": [{"train": {"raw": "raw", "gt": "labels"}}]},
}


class Inner(Settings):
    """What is
    inside.

    Example: never shown.
    """

    depth_vx: PositiveInt
    """How deep."""


class Shared(Settings):
    share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """How much
    of it."""


class Left(Shared):
    """The left one."""

    choice: bool | Literal["auto"] = "auto"


class Right(Shared):
    """The right one."""

    paths: Annotated[tuple[Path, ...], Field(min_length=1)] = (Path("a"),)


class Name(str):
    """A text that is checked."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source, handler):
        return core_schema.str_schema()


class Whole(Settings):
    """Everything."""

    inner: Inner | None = None
    left: Left = Left()
    right: Right = Right()
    names: tuple[Name, ...] = ()
    corners: tuple[tuple[int, int], ...] | None = None
    above: Annotated[float, Field(gt=0, lt=2)] = Field(alias="over")


def test_a_key_is_told_from_its_class():
    """Name, kind, limits, unit, default and meaning of a key are those of the field and the text under it."""
    found = {key.name: key for key in keys(Whole)}
    assert [found[name].kind for name in ("names", "corners", "over")] == [
        "list of texts",
        "list of lists of 2 whole numbers or null",
        "number > 0 and < 2",
    ]
    assert found["over"].needed
    assert found["inner"].section is Inner
    assert found["inner"].meaning == "What is inside."
    (depth,) = keys(Inner)
    assert (depth.kind, depth.needed, depth.meaning) == ("whole number > 0, in voxels", True, "How deep.")
    share, choice = keys(Left)
    assert (share.kind, share.default, share.meaning) == ("number from 0 to 1", 0.5, "How much of it.")
    assert choice.kind == "true, false or `auto`"
    assert (keys(Right)[1].kind, keys(Right)[1].default) == ("list of 1 or more paths", ["a"])


def test_what_sections_have_in_common_is_told_once():
    """Keys of a base class of two sections stand under the names of both, all others under one."""
    found = {section.places: [key.name for key in section.keys] for section in sections(Whole)}
    assert found == {
        ("",): ["inner", "left", "right", "names", "corners", "over"],
        ("inner",): ["depth_vx"],
        ("left",): ["choice"],
        ("left", "right"): ["share"],
        ("right",): ["paths"],
    }


@pytest.mark.parametrize("which", FILES)
def test_every_key_has_a_meaning(which: str):
    """No key of a settings file is listed without a sentence that says what it means."""
    missing = [
        f"{section.places}: {key.name}" for section in sections(FILES[which]) for key in section.keys if not key.meaning
    ]
    assert not missing


def test_the_volume_file_holds_every_default():
    """What is printed, with the one key that must be given, is what an empty file with that key means."""
    printed = parse_yaml("\n".join(commented("volume")))
    assert set(printed) == set(VolumeSettings.model_fields) - {"output"}
    needed = {"output": "out/a.zarr"}
    assert VolumeSettings.parse(printed | needed, "printed") == VolumeSettings.parse(needed, "empty")


def test_the_experiment_file_holds_every_default():
    """What is printed, with what must be given, is what a file with that alone means."""
    printed = parse_yaml("\n".join(commented("experiment")))
    assert set(printed) == set(Params.model_fields)
    printed["model"][0] |= EXPERIMENT["model"][0]
    printed["contrastive"] |= EXPERIMENT["contrastive"]
    printed["seg"]["data_file"] = EXPERIMENT["seg"]["data_file"]
    printed["seg"]["dataset"][0]["train"] |= EXPERIMENT["seg"]["dataset"][0]["train"]
    assert parse_params(printed, "printed") == parse_params(EXPERIMENT, "short")


@pytest.mark.parametrize("which", FILES)
def test_the_command_prints_what_the_pages_hold(which: str, capsys: pytest.CaptureFixture[str]):
    """With --markdown it prints tables, without it a file."""
    assert call(["settings", which, "--markdown"]) == 0
    assert capsys.readouterr().out.rstrip() == markdown(FILES[which]).rstrip()
    assert call(["settings", which]) == 0
    assert capsys.readouterr().out.splitlines() == list(commented(which))


def test_another_file_is_refused(capsys: pytest.CaptureFixture[str]):
    """Exit code 2 and one line that names the two files there are."""
    assert call(["settings", "cluster"]) == 2
    assert "volume or experiment" in capsys.readouterr().err
