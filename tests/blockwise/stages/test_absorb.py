"""Small segments are joined the same for any blocks, and whatever is made of segments knows of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import contraband as cb
from blockwise.arrays.volume import Volume
from blockwise.errors import BadInput, Stale
from blockwise.kernels.graph.rules import SmallRules
from blockwise.kernels.scores.tables import score
from blockwise.kernels.tables import count_overlap, relabel
from blockwise.stages.agglomerate.stage import read_dendrogram
from contraband.cli import call
from tests.support.absorbed import slow_segments
from tests.support.volumes import cells, store_volume

SHAPE = (18, 26, 30)
LEAST = 300
THRESHOLDS = (0.5, 0.8)
NAMES = ("fragment", "parent", "score")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Affinities of nine levels, so that edges tie, the cells, and a mask with a small piece of its own."""
    path = tmp_path_factory.mktemp("absorb") / "vol.zarr"
    affinities, labels = cells(SHAPE, spacing=6)
    mask = np.ones(SHAPE, np.uint8)
    mask[:, :, 22:24] = 0
    mask[5:, :, 24:] = 0
    mask[:, 6:, 24:] = 0
    for name, data in (("affinities", affinities // 28 * 28), ("labels", labels), ("mask", mask)):
        store_volume(path / name, data, SHAPE)
    return path.parent


def settings(folder: Path, output: str, block: tuple[int, int, int] = (7, 9, 30), **keys: object) -> cb.VolumeSettings:
    """The volume with a mask, in this process."""
    given = folder / "vol.zarr"
    return cb.load_settings(
        {
            "volume": {"labels": given / "labels", "mask": given / "mask"},
            "affinities": given / "affinities",
            "output": folder / f"{output}.zarr",
            "blocks": {"shape": block},
            "fragments": {"cap": None, "dip": 0},
            "segment": {"thresholds": THRESHOLDS, "min_voxels": LEAST},
            "evaluate": {"thresholds": [0.3, *THRESHOLDS], "ignore": []},
            "cluster": {"kind": "none"},
            **keys,
        }
    )


@pytest.fixture(scope="module")
def whole(folder: Path) -> cb.VolumeSettings:
    """Run in one block."""
    chosen = settings(folder, "whole", SHAPE)
    cb.run(chosen, progress=False)
    return chosen


def segments(chosen: cb.VolumeSettings, threshold: float) -> np.ndarray:
    """As they are written."""
    found: np.ndarray = cb.open_result(chosen).stored(f"segments/{threshold:g}")[...]
    return found


def check_same(chosen: cb.VolumeSettings, whole: cb.VolumeSettings) -> None:
    """The same dendrogram and segments to the last bit, and the same scores."""
    one, other = cb.open_result(chosen).dendrogram, cb.open_result(whole).dendrogram
    assert all(np.array_equal(getattr(one, name), getattr(other, name)) for name in NAMES)
    assert all(np.array_equal(segments(chosen, at), segments(whole, at)) for at in THRESHOLDS)
    assert cb.open_result(chosen).evaluation == cb.open_result(whole).evaluation


def test_segments_are_those_of_the_definition_on_the_whole_volume(whole):
    """Written segments are those that sets and fractions give from voxels and edges of the volume in one piece."""
    result = cb.open_result(whole)
    fragments = result.fragments[...]
    tree = read_dendrogram(Volume(path=whole.output / "agglomeration"))
    voxels = np.array([np.count_nonzero(fragments == number) for number in tree.fragment.tolist()])
    rules = SmallRules(min_voxels=LEAST)
    for threshold in THRESHOLDS:
        expected = slow_segments(tree, voxels, result.region_graph, rules, threshold)
        written = segments(whole, threshold)
        np.testing.assert_array_equal(written, relabel(fragments, tree.fragment, expected))
        np.testing.assert_array_equal(result.segments(threshold)[...], written)
        numbers, sizes = np.unique(written[written > 0], return_counts=True)
        assert sizes.min() >= LEAST
        assert 1 < len(numbers) < len(np.unique(result.fragments[...])) / 2
    assert ((written == 0) & (fragments > 0)).any(), "the small piece in the mask is background"


@pytest.mark.parametrize(
    "keys",
    [{"block": (7, 9, 30)}, {"block": (5, 26, 8), "agglomerate": {"memory": "60kB"}}, {"block": (18, 7, 11)}],
    ids=str,
)
def test_blocks_and_boxes_do_not_show(keys, folder, whole):
    """Any blocks, and a region graph solved in boxes, give the bytes of one block."""
    chosen = settings(folder, f"blocks-{keys['block'][1]}", **keys)
    cb.run(chosen, progress=False)
    check_same(chosen, whole)


def test_workers_do_not_show(folder, whole):
    """Two workers of a cluster give the bytes of this process."""
    chosen = settings(folder, "workers", cluster={"kind": "local", "workers": 2})
    cb.run(chosen, progress=False)
    check_same(chosen, whole)


def test_scores_are_those_of_the_written_segments(whole):
    """The row of a threshold is what segments and truth give when they are compared voxel by voxel."""
    truth = cells(SHAPE, spacing=6)[1].astype(np.uint64)
    rows = {row["threshold"]: row for row in cb.open_result(whole).scores}
    for threshold in THRESHOLDS:
        direct = score(count_overlap(segments(whole, threshold), truth), ignore=())
        assert rows[threshold]["voi_sum"] == pytest.approx(direct.voi_sum, abs=1e-9)
        assert rows[threshold]["segments"] == direct.segments
        assert rows[threshold]["matched"] == direct.matched
    merges = cb.open_result(whole).evaluation["false_merges"]
    assert merges
    assert all(min(row["clusters"]) > 0 for row in merges)


def test_another_number_makes_only_what_follows(folder):
    """Without the key nothing is counted; another number is stale, and made again from `absorb` on with `--redo`."""
    plain = settings(folder, "again", segment={"thresholds": THRESHOLDS})
    ran = {row["stage"] for row in cb.run(plain, progress=False)}
    assert "absorb" not in ran
    before = segments(plain, 0.8)
    small = settings(folder, "again")
    with pytest.raises(Stale, match=r"segment.*--redo absorb"):
        cb.run(small, progress=False)
    cb.run(small, redo="absorb", progress=False)
    assert len(np.unique(segments(small, 0.8))) < len(np.unique(before))
    smaller = settings(folder, "again", segment={"thresholds": THRESHOLDS, "min_voxels": 20})
    with pytest.raises(Stale, match=r"absorb.min_voxels was 300, is now 20"):
        cb.run(smaller, progress=False)
    made = {row["stage"] for row in cb.run(smaller, redo="absorb", progress=False) if row["blocks_done"]}
    assert made == {"absorb", "segment", "evaluate"}
    cb.run(plain, last="segment", redo="segment", progress=False)
    np.testing.assert_array_equal(segments(plain, 0.8), before)


def test_tables_and_compact_numbers_are_of_these_segments(folder, whole):
    """The table of objects has a row for each segment and none for background; compact numbers are 1 to n."""
    named = segments(whole, 0.8)
    compact = settings(folder, "compact", segment={"thresholds": [0.8], "min_voxels": LEAST, "numbers": "compact"})
    cb.run(compact, last="segment", progress=False)
    numbers, place = np.unique(named, return_inverse=True)
    assert numbers[0] == 0
    np.testing.assert_array_equal(segments(compact, 0.8), place.reshape(SHAPE))
    target = folder / "objects.csv"
    assert cb.objects(whole, target, threshold=0.8, progress=False) == len(numbers) - 1
    rows = np.genfromtxt(target, delimiter=",", names=True, usecols=("object", "voxels"))
    np.testing.assert_array_equal(rows["object"], numbers[1:])
    np.testing.assert_array_equal(rows["voxels"], np.bincount(place.ravel())[1:])


def test_corrections_count_first(folder):
    """A fragment that is split from its object by hand is not joined with it again, and no blocks show in it."""
    chosen = settings(folder, "corrected", segment={"thresholds": THRESHOLDS, "min_voxels": 60})
    cb.run(chosen, progress=False)
    result = cb.open_result(chosen)
    written, fragments = segments(chosen, 0.5), result.fragments[...]
    largest = np.argmax(np.bincount(np.searchsorted(np.unique(written), written.ravel()))[1:]) + 1
    own = np.unique(fragments[written == np.unique(written)[largest]])
    cb.correct(chosen, split=[f"{own[0]},{own[-1]}"], progress=False)
    for threshold in THRESHOLDS:
        now = segments(chosen, threshold)
        assert now[fragments == own[0]][0] != now[fragments == own[-1]][0]
        np.testing.assert_array_equal(result.segments(threshold)[...], now)
        assert np.unique(now[now > 0], return_counts=True)[1].min() >= 60


@pytest.mark.parametrize("value", ["-1", "many", "2.5"])
def test_what_is_no_number_of_voxels_is_refused_in_a_line(value, folder, capsys):
    """A negative number, a text and a fraction: one line, exit code 2, nothing written."""
    place = folder / "refused.yaml"
    place.write_text(f"affinities: {folder / 'vol.zarr' / 'affinities'}\noutput: {folder / 'refused.zarr'}\n")
    assert call(["run", str(place), "--set", f"segment.min_voxels={value}"]) == 2
    said = capsys.readouterr().err.strip()
    assert "min_voxels" in said
    assert len(said.splitlines()) == 1
    assert not (folder / "refused.zarr").exists()
    with pytest.raises(BadInput, match="isolated"):
        settings(folder, "refused", segment={"isolated": "gone"})
