"""Results for other programs: what they say of themselves, the same for any blocks, whole or not there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

import contraband as cb
from blockwise.arrays.volume import Volume, info
from blockwise.engine.options import RunOptions
from blockwise.kernels.shrink import shrink_majority, shrink_mean
from contraband.cli import call
from contraband.volumes.export.export import ExportOptions
from contraband.volumes.export.export import export as write
from tests.support.volumes import cells, store_volume, whole

SHAPE = (10, 70, 90)
BLOCK = (5, 32, 40)
PLACE = {"voxel_size": [40, 10, 10], "offset": [80, 20, 30], "units": ["nm"] * 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small volume, run and evaluated in one block shape."""
    path = tmp_path_factory.mktemp("export")
    affinities, _ = cells(SHAPE)
    store_volume(path / "vol.zarr" / "affinities", affinities, SHAPE, **PLACE)
    store_volume(path / "vol.zarr" / "raw", affinities[0], SHAPE, **PLACE)
    cb.run(settings(path), last="segment", progress=False)
    return path


def settings(folder: Path, block: tuple[int, int, int] = BLOCK) -> cb.VolumeSettings:
    """Its settings, in this process."""
    return cb.load_settings(
        {
            "volume": {"raw": folder / "vol.zarr" / "raw"},
            "affinities": folder / "vol.zarr" / "affinities",
            "output": folder / f"{'-'.join(map(str, block))}.zarr",
            "blocks": {"shape": block},
            "segment": {"thresholds": [0.4, 0.5]},
            "cluster": {"kind": "none"},
        }
    )


def segments(folder: Path, threshold: float) -> np.ndarray:
    """The segments that the run has written."""
    return cb.open_result(settings(folder)).stored(f"segments/{threshold:g}")[...]


def content(path: Path) -> dict[str, str]:
    """Every file below a folder by its checksum."""
    files = [file for file in path.rglob("*") if file.is_file()]
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_an_ome_zarr_holds_raw_and_segments_in_all_sizes(folder, version):
    """Levels are the means of raw, and the majorities of segments; places are centres; a validator finds no fault."""
    import yaozarrs

    target = cb.export(settings(folder), folder / f"{version}.ome.zarr", ome_version=version, progress=False)
    yaozarrs.validate_zarr_store(str(target))
    raw = whole(Volume(path=folder / "vol.zarr" / "raw"))
    found = segments(folder, 0.4)
    np.testing.assert_array_equal(zarr.open_array(target / "0")[:], raw)
    np.testing.assert_array_equal(zarr.open_array(target / "1")[:], shrink_mean(raw, (1, 2, 2)))
    labels = target / "labels" / "segments_0.4"
    np.testing.assert_array_equal(zarr.open_array(labels / "0")[:], found)
    np.testing.assert_array_equal(zarr.open_array(labels / "1")[:], shrink_majority(found, (1, 2, 2)))
    said = zarr.open_group(target / "labels").attrs
    assert (said["labels"] if version == "0.4" else said["ome"]["labels"]) == ["segments_0.4", "segments_0.5"]
    smaller = info(Volume(path=labels / "1"))
    assert (smaller.voxel_size, smaller.offset, smaller.units[0]) == ((40, 20, 20), (80, 20, 30), "nm")
    assert zarr.open_array(target / "0").metadata.zarr_format == (2 if version == "0.4" else 3)
    attributes = dict(zarr.open_group(target).attrs)
    (channel,) = (attributes if version == "0.4" else attributes["ome"])["omero"]["channels"]
    assert (channel["color"], channel["window"]["max"]) == ("FFFFFF", raw.max())


def test_blocks_do_not_show_in_an_export(folder):
    """Every level has the same voxels, whatever the blocks of the run and of the export."""
    first = cb.export(settings(folder), folder / "first.zarr", compact=True, progress=False)
    other = cb.export(settings(folder, (3, 70, 17)), folder / "other.zarr", compact=True, progress=False)
    for level in ("0", "1", "labels/segments_0.5/0", "labels/segments_0.5/1"):
        one, two = (zarr.open_array(path / level)[:] for path in (first, other))
        assert one.dtype == two.dtype == np.uint8
        np.testing.assert_array_equal(one, two)


def test_an_interrupted_export_goes_on_and_is_whole_or_not_there(folder):
    """Nothing lies at the target until all does; what was finished before is not made again, and nothing is left."""
    wanted = ExportOptions("ome-zarr", (0.5,))
    straight, target = folder / "straight.zarr", folder / "later.zarr"
    write(settings(folder), straight, wanted, RunOptions())
    reached: list[int] = []

    def interrupt(name: str, done: int, total: int, note: str = "") -> None:
        if name == "export/segments_0.5/0" and done:
            reached.append(done)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(settings(folder), target, wanted, RunOptions(progress=interrupt))
    assert not target.exists()
    again: list[tuple[str, int]] = []
    write(settings(folder), target, wanted, RunOptions(progress=lambda name, done, *_: again.append((name, done))))
    assert min(done for name, done in again if name == "export/raw/0") == 4
    assert min(done for name, done in again if name == "export/segments_0.5/0") >= reached[0]
    assert content(target) == content(straight)
    assert not list(folder.glob(".later*"))


@pytest.mark.parametrize("name", ["cells.tif", "cells.ome.tif"])
def test_a_tiff_holds_segments_from_1_to_n_with_their_calibration(folder, name):
    """The file is read by tifffile, has the smallest type, and comes back with its voxel size and unit."""
    target = cb.export(settings(folder), folder / name, thresholds=[0.5], progress=False)
    with tifffile.TiffFile(target) as file:
        found = file.series[0].asarray()
        assert (file.is_imagej, file.is_ome) == (name == "cells.tif", name != "cells.tif")
    numbers, expected = np.unique(np.append(segments(folder, 0.5), 0), return_inverse=True)
    assert found.dtype == np.uint8
    assert found.max() == len(numbers) - 1
    np.testing.assert_array_equal(found, expected[:-1].reshape(SHAPE))
    back = cb.import_file(target, folder / "back.zarr" / name.replace(".", "-"), labels=True, progress=False)
    assert (back.voxel_size, back.units[0]) == ((40, 10, 10), "nm")
    assert back.offset == ((80, 20, 30) if name == "cells.tif" else (0, 0, 0))


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("there.zarr", [], "exists already"),
        ("a.png", [], "does not say a format"),
        ("a.tif", ["--threshold", "0.4", "--threshold", "0.5"], "holds one segmentation"),
        ("5-32-40.zarr/a.zarr", [], "lies in the output of the run"),
        ("a.zarr", ["--threshold", "1.5"], "thresholds"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_a_line(folder, capsys, target, options, message):
    """One line, exit code 2, and nothing written."""
    (folder / "there.zarr").mkdir(exist_ok=True)
    (folder / "vol.yaml").write_text(settings(folder).model_dump_json(), encoding="utf-8")
    before = content(folder)
    assert call(["export", str(folder / "vol.yaml"), str(folder / target), *options]) == 2
    assert message in capsys.readouterr().err
    assert content(folder) == before
