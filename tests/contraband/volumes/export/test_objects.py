"""The table of objects against the slowest obvious way, the same bytes for any blocks."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import contraband as cb
from blockwise.arrays.volume import Volume
from contraband.cli import call
from tests.support.volumes import cells, store_volume, whole

SHAPE = (8, 18, 20)
SIZE = (40.0, 10.0, 5.0)
OFFSET = (80.0, 20.0, 30.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small volume with two raw channels."""
    path = tmp_path_factory.mktemp("objects")
    place = {"voxel_size": list(SIZE), "offset": list(OFFSET), "units": ["nm"] * 3}
    affinities, _ = cells(SHAPE, spacing=7)
    store_volume(path / "vol.zarr" / "affinities", affinities, SHAPE, **place)
    rng = np.random.default_rng(3)
    raw = rng.integers(0, 2**16, (2, *SHAPE)).astype(np.uint16)
    store_volume(path / "vol.zarr" / "raw", raw, SHAPE, offsets=None, **place)
    store_volume(path / "vol.zarr" / "floats", rng.normal(3, 0.01, SHAPE).astype(np.float32), SHAPE, **place)
    return path


def settings(folder: Path, block: tuple[int, int, int], raw: str = "raw", **keys: object) -> cb.VolumeSettings:
    """Its settings, in this process."""
    return cb.load_settings(
        {
            "volume": {"raw": folder / "vol.zarr" / raw},
            "affinities": folder / "vol.zarr" / "affinities",
            "output": folder / f"{raw}-{'-'.join(map(str, block))}.zarr",
            "blocks": {"shape": block},
            "cluster": {"kind": "none"},
            **keys,
        }
    )


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def areas(segments: np.ndarray) -> dict[tuple[int, int], float]:
    """The area of the faces between each two objects, by looking at every pair of voxels."""
    found: dict[tuple[int, int], float] = {}
    for axis in range(3):
        pairs = np.stack([segments.take(range(1, SHAPE[axis]), axis), segments.take(range(SHAPE[axis] - 1), axis)])
        for one, other in pairs.reshape(2, -1).T.tolist():
            if one and other and one != other:
                key = (min(one, other), max(one, other))
                found[key] = found.get(key, 0) + float(np.prod(SIZE)) / SIZE[axis]
    return found


def test_each_object_is_measured_as_from_its_voxels(folder):
    """Size, place, box, border, brightness of each channel and contacts are those of the segments as written."""
    chosen = settings(folder, (3, 7, 9))
    count = cb.objects(chosen, folder / "a.csv", threshold=0.5, progress=False)
    cb.run(chosen, last="segment", progress=False)
    segments = cb.open_result(chosen).stored("segments/0.5")[...]
    data = whole(Volume(path=folder / "vol.zarr" / "raw"))
    rows = table(folder / "a.csv")
    assert count == len(rows) == len(np.unique(segments[segments > 0])) > 5
    between = areas(segments)
    for row in rows:
        mask = segments == int(row["object"])
        places = np.argwhere(mask)
        assert int(row["voxels"]) == len(places)
        assert float(row["volume"]) == len(places) * np.prod(SIZE)
        for axis, letter in enumerate("zyx"):
            centre = OFFSET[axis] + (places[:, axis].mean() + 0.5) * SIZE[axis]
            assert float(row[f"centre_{letter}"]) == pytest.approx(centre)
            assert int(row[f"begin_{letter}"]) == places[:, axis].min()
            assert int(row[f"end_{letter}"]) == places[:, axis].max() + 1
        assert int(row["at_border"]) == ((places == 0) | (places == np.array(SHAPE) - 1)).any()
        for channel in range(2):
            assert float(row[f"mean_{channel}"]) == pytest.approx(data[channel][mask].mean())
            assert float(row[f"sd_{channel}"]) == pytest.approx(data[channel][mask].std())
        number = int(row["object"])
        own = {sum(pair) - number: area for pair, area in between.items() if number in pair}
        said = dict(one.split(":") for one in row["contacts"].split())
        assert {int(other): float(area) for other, area in said.items()} == pytest.approx(own)
        assert int(row["neighbours"]) == len(own)


def test_blocks_do_not_show_in_the_table(folder):
    """The bytes are the same for any blocks, and whether or not fragments have their final numbers yet."""
    whole_volume = settings(folder, SHAPE)
    cb.objects(whole_volume, folder / "one.csv", threshold=0.4, progress=False)
    for block in ((3, 7, 9), (8, 5, 20)):
        chosen = settings(folder, block)
        target = folder / f"{block[1]}.csv"
        cb.run(chosen, last="segment", progress=False)
        cb.objects(chosen, target, threshold=0.4, progress=False)
        assert target.read_bytes() == (folder / "one.csv").read_bytes()


def test_small_differences_of_floats_are_seen(folder):
    """The deviation of values that hardly differ is right: it comes from whole numbers."""
    chosen = settings(folder, (4, 9, 10), raw="floats", segment={"numbers": "compact"})
    cb.objects(chosen, folder / "floats.csv", progress=False)
    rows = table(folder / "floats.csv")
    assert [int(row["object"]) for row in rows] == list(range(1, len(rows) + 1))
    large = max(rows, key=lambda row: int(row["voxels"]))
    assert float(large["mean_0"]) == pytest.approx(3, abs=0.01)
    assert float(large["sd_0"]) == pytest.approx(0.01, rel=0.2)


def test_parquet_holds_the_same(folder):
    """A Parquet file has the rows of the CSV file."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is optional")
    chosen = settings(folder, SHAPE)
    cb.objects(chosen, folder / "p.csv", progress=False)
    cb.objects(chosen, folder / "p.parquet", progress=False)
    found = parquet.read_table(folder / "p.parquet").to_pylist()
    assert [{key: str(value) for key, value in row.items()} for row in found] == table(folder / "p.csv")


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("a.txt", [], "is no name of a table"),
        ("there.csv", [], "exists already"),
        ("b.csv", ["--threshold", "2"], "thresholds"),
    ],
)
def test_what_is_no_table_is_refused_in_a_line(folder, capsys, target, options, message):
    """One line, exit code 2, and no table."""
    (folder / "there.csv").touch()
    (folder / "vol.yaml").write_text(settings(folder, SHAPE).model_dump_json(), encoding="utf-8")
    assert call(["objects", str(folder / "vol.yaml"), str(folder / target), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "b.csv").exists()
