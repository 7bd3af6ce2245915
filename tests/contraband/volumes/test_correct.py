"""Corrections: honoured at every threshold, the same for any blocks and any order, and only what changes is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import contraband as cb
from contraband.cli import call
from contraband.volumes.view.numbers import open_live
from tests.support.volumes import cells, store_volume

SHAPE = (12, 40, 44)
BLOCK = (6, 10, 11)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small volume with its truth."""
    path = tmp_path_factory.mktemp("correct")
    affinities, labels = cells(SHAPE, spacing=9)
    store_volume(path / "vol.zarr" / "affinities", affinities, SHAPE)
    store_volume(path / "vol.zarr" / "labels", labels, SHAPE)
    return path


def settings(folder: Path, output: str, block: tuple[int, int, int] = BLOCK, **keys: object) -> cb.VolumeSettings:
    """Its settings, in this process."""
    return cb.load_settings(
        {
            "volume": {"labels": folder / "vol.zarr" / "labels"},
            "affinities": folder / "vol.zarr" / "affinities",
            "output": folder / f"{output}.zarr",
            "blocks": {"shape": block},
            "segment": {"thresholds": [0.3, 0.6]},
            "cluster": {"kind": "none"},
            **keys,
        }
    )


@pytest.fixture(scope="module")
def wanted(folder: Path) -> tuple[str, str]:
    """Two segments to join that lie in a corner, and two fragments of one segment to split, by their numbers."""
    chosen = settings(folder, "plain")
    cb.run(chosen, progress=False)
    result = cb.open_result(chosen)
    segments = result.segments(0.3)[...]
    fragments = result.fragments[...]
    joined = np.unique(segments[:4, :8, :8])
    joined = joined[joined > 0]
    for number in np.unique(segments[segments > 0]):
        own = np.unique(fragments[segments == number])
        if len(own) > 2 and number not in joined[:2]:
            return f"{joined[0]},{joined[1]}", f"{own[0]},{own[1]}"
    raise AssertionError("no segment of several fragments")


def both(result: cb.Result, pair: str, threshold: float) -> tuple[int, int]:
    """The segments of the first voxels of two fragments."""
    segments = result.stored(f"segments/{threshold:g}")
    places = (np.unravel_index(int(number) - 1, SHAPE) for number in pair.split(","))
    one, other = (int(segments[tuple(int(at) for at in place)]) for place in places)
    return one, other


def bytes_of(chosen: cb.VolumeSettings) -> bytes:
    """All segments."""
    result = cb.open_result(chosen)
    return b"".join(result.stored(f"segments/{threshold:g}")[...].tobytes() for threshold in (0.3, 0.6))


def test_blocks_and_the_order_of_corrections_do_not_show(folder, wanted):
    """Step by step after boxes, at once before the run, in other blocks and in another order: the same bytes."""
    join, split = wanted
    steps = settings(folder, "steps", agglomerate={"memory": "60kB"})
    cb.run(steps, progress=False)
    assert (folder / "steps.zarr" / "agglomeration" / "boxes").is_dir()
    before = bytes_of(steps)
    cb.correct(steps, join=[join], progress=False)
    made = cb.correct(steps, split=[split], progress=False)
    assert made["corrections"] == 2
    assert 0 < made["blocks_written"] < 2 * 32
    result = cb.open_result(steps)
    for threshold in (0.3, 0.6):
        one, other = both(result, join, threshold)
        assert one == other > 0
        one, other = both(result, split, threshold)
        assert one != other
        np.testing.assert_array_equal(result.segments(threshold)[...], result.stored(f"segments/{threshold:g}")[...])
    assert bytes_of(steps) != before
    for number, block in enumerate([SHAPE, (5, 40, 13)]):
        other_way = settings(folder, f"other-{number}", block)
        cb.correct(other_way, join=[",".join(reversed(join.split(",")))], split=[split], progress=False)
        assert bytes_of(other_way) == bytes_of(steps)
    fresh = settings(folder, "fresh")
    text = (folder / "steps.corrections.csv").read_text(encoding="utf-8").splitlines()
    (folder / "fresh.corrections.csv").write_text("\n".join([text[0], *reversed(text[1:])]) + "\n", encoding="utf-8")
    cb.run(fresh, progress=False)
    assert bytes_of(fresh) == bytes_of(steps)


def test_undone_corrections_leave_nothing(folder, wanted):
    """With all taken back, segments and scores are as before, and a run finds nothing to do."""
    chosen = settings(folder, "undone")
    cb.run(chosen, progress=False)
    before = bytes_of(chosen), cb.open_result(chosen).evaluation
    cb.correct(chosen, join=[wanted[0]], split=[wanted[1]], progress=False)
    after = bytes_of(chosen), cb.open_result(chosen).evaluation
    assert after[0] != before[0]
    assert after[1]["thresholds"] != before[1]["thresholds"]
    live = open_live(chosen)
    assert live is not None
    one, other = live.numbers(np.array([int(number) for number in wanted[0].split(",")], np.uint64))
    assert one == other
    assert not any(row["blocks_done"] for row in cb.run(chosen, progress=False))
    cb.correct(chosen, undo=2, progress=False)
    assert (bytes_of(chosen), cb.open_result(chosen).evaluation) == before
    assert not (folder / "undone.corrections.csv").exists()
    assert not any(row["blocks_done"] for row in cb.run(chosen, progress=False))


def test_only_blocks_that_change_are_written(folder, wanted):
    """Shards of blocks whose segments stay the same are not touched."""
    chosen = settings(folder, "touched")
    cb.run(chosen, progress=False)

    def shards() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in chosen.output.glob("segments/*/c/**/*") if path.is_file()}

    old = {threshold: cb.open_result(chosen).stored(f"segments/{threshold}")[...] for threshold in ("0.3", "0.6")}
    before = shards()
    cb.correct(chosen, join=[wanted[0]], progress=False)
    result = cb.open_result(chosen)
    written = {path for path, stamp in shards().items() if before.get(path) != stamp}
    assert written
    changed = set()
    for threshold, was in old.items():
        for index in np.argwhere(was != result.stored(f"segments/{threshold}")[...]) // np.array(BLOCK):
            changed.add(chosen.output / "segments" / threshold / "c" / "/".join(map(str, index)))
    assert written == changed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--join", "5"], "is no pair"),
        (["--join", "0,0,0,99,0,0"], "outside of the volume"),
        (["--split", "JOIN", "--join", "JOIN"], "must not be one object, and by joins they must"),
        (["--split", "0,0,0,0,0,0"], "--split: names one place twice"),
        (["--join", "1,1"], "--join: names one place twice"),
        (["--undo", "3"], "not so many corrections"),
        (["--file", "nothing.csv"], "no such file"),
        (["--join", "JOIN", "--set", "agglomerate.statistic=max"], "mean affinity only|finished blocks"),
    ],
)
def test_what_cannot_be_corrected_is_refused_in_a_line(folder, wanted, capsys, options, message):
    """One line, exit code 2, and no corrections kept."""
    import re

    (folder / "vol.yaml").write_text(settings(folder, "plain").model_dump_json(), encoding="utf-8")
    options = [option.replace("JOIN", wanted[0]) for option in options]
    assert call(["correct", str(folder / "vol.yaml"), *options]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (folder / "plain.corrections.csv").exists()
