"""Some of the points of death of `make faults`: every run ends with the bytes of one undisturbed block."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.__main__ import strike_one, undisturbed
from tests.faults.bucket import object_store
from tests.faults.play import Play, Wrong, compare, play
from tests.faults.points import Point, all_points
from tests.faults.scenes import nothing
from tests.faults.strike import Strike
from tests.faults.volume import make_volume
from tests.support.servers import mongo_server


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The volume."""
    folder = tmp_path_factory.mktemp("faults")
    make_volume(folder)
    return folder


@pytest.fixture(scope="module")
def expected(source: Path) -> dict[str, str]:
    """Sums of an undisturbed run in one block."""
    return undisturbed(source, False)


@pytest.fixture(scope="module")
def mongo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server."""
    with mongo_server(tmp_path_factory.mktemp("mongo")) as address:
        yield address


@pytest.fixture(scope="module")
def endpoint(source: Path) -> Iterator[str]:
    """An object store with the volume."""
    with object_store(source) as address:
        yield address


@pytest.mark.parametrize("point", [point for point in all_points() if point.quick], ids=lambda point: point.name)
def test_a_struck_run_ends_the_same(
    point: Point, source: Path, expected: dict[str, str], mongo: str, endpoint: str, tmp_path: Path
) -> None:
    """Killed where it is planned and started again until it is done, a run has the same sums."""
    place = tmp_path / f"run-{uuid.uuid4().hex[:8]}"  # it names the output in the object store, too
    result = strike_one(Play(point, source, place, mongo, endpoint), expected)
    assert result.verdict == "same"


def test_a_wrong_output_is_noticed(source: Path, expected: dict[str, str], tmp_path: Path) -> None:
    """The comparison itself fails where a single sum differs, and where the fault never happened."""
    killed = Point("never", Strike("no such place"), first=(0,))
    assert play(Play(killed, source, tmp_path / "a", ""), nothing, nothing, expected).verdict == "was never struck"
    with pytest.raises(Wrong, match=r"differs: segments/0\.5"):
        compare(Play(killed, source, tmp_path / "a", ""), {**expected, "segments/0.5": "another"})


def test_the_points_are_many_and_different() -> None:
    """At least fifty points of death, none twice."""
    names = [(point.name, point.strike, point.settings, point.asked) for point in all_points()]
    assert len(set(map(str, names))) == len(names) >= 50
