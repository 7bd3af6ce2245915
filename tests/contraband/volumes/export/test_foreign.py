"""An exported OME-Zarr and TIFF as programs see them that others wrote; skipped where these are not installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import contraband as cb
from tests.support.volumes import cells, store_volume

SHAPE = (10, 70, 66)
CENTRE = [100.0, 25.0, 35.0]
"""Of the first voxel, in nanometres."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What was exported, by its kind; `segments` as the run wrote them, as .npy."""
    folder = tmp_path_factory.mktemp("foreign")
    affinities, _ = cells(SHAPE)
    place = {"voxel_size": [40, 10, 10], "offset": [80, 20, 30], "units": ["nm"] * 3}
    store_volume(folder / "vol.zarr" / "affinities", affinities, SHAPE, **place)
    store_volume(folder / "vol.zarr" / "raw", affinities[0], SHAPE, **place)
    settings = cb.load_settings(
        {
            "volume": {"raw": folder / "vol.zarr" / "raw"},
            "affinities": folder / "vol.zarr" / "affinities",
            "output": folder / "a.zarr",
            "blocks": {"shape": [5, 32, 40]},
            "segment": {"numbers": "compact"},
            "cluster": {"kind": "none"},
        }
    )
    found = {
        version: cb.export(settings, folder / f"{version}.ome.zarr", ome_version=version, progress=False)
        for version in ("0.4", "0.5")
    }
    found["tiff"] = cb.export(settings, folder / "a.ome.tif", progress=False)
    np.save(folder / "raw.npy", affinities[0])
    np.save(folder / "segments.npy", cb.open_result(settings).stored("segments/0.5")[...])
    return found | {name: folder / f"{name}.npy" for name in ("raw", "segments")}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_py_reads_image_and_labels(made, version):
    """ome-zarr-py finds the image with two levels, and the labels with theirs."""
    io = pytest.importorskip("ome_zarr.io", reason="ome-zarr is optional")
    reader = pytest.importorskip("ome_zarr.reader", reason="ome-zarr is optional")
    nodes = list(reader.Reader(io.parse_url(made[version]))())
    image = nodes[0]
    assert [level.shape for level in image.data] == [SHAPE, (10, 35, 33)]
    np.testing.assert_array_equal(np.asarray(image.data[0]), np.load(made["raw"]))
    (labels,) = [node for node in nodes if "segments_0.5" in str(node.zarr)]
    np.testing.assert_array_equal(np.asarray(labels.data[0]), np.load(made["segments"]))
    said = image.metadata["coordinateTransformations"][0]
    assert said[1]["translation"] == CENTRE


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ngff_zarr_reads_places_and_voxels(made, version):
    """ngff-zarr reads both levels, their scale, and the centre of their first voxels."""
    ngff_zarr = pytest.importorskip("ngff_zarr", reason="ngff-zarr is optional")
    images = ngff_zarr.from_ngff_zarr(str(made[version])).images
    assert [image.scale for image in images] == [{"z": 40, "y": 10, "x": 10}, {"z": 40, "y": 20, "x": 20}]
    assert [images[0].translation[axis] for axis in "zyx"] == CENTRE
    assert [images[1].translation[axis] for axis in "zyx"] == [100, 30, 40]
    np.testing.assert_array_equal(np.asarray(images[0].data), np.load(made["raw"]))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_tensorstore_reads_chunks_and_shards(made, version):
    """tensorstore reads the arrays of both formats, the sharded one too."""
    tensorstore = pytest.importorskip("tensorstore", reason="tensorstore is optional")
    for path, expected in (("0", "raw"), ("labels/segments_0.5/0", "segments")):
        spec = {"driver": "zarr" if version == "0.4" else "zarr3"}
        spec["kvstore"] = {"driver": "file", "path": f"{made[version] / path}/"}
        found = tensorstore.open(spec).result().read().result()
        np.testing.assert_array_equal(found, np.load(made[expected]))


def test_bioio_reads_the_tiff_with_its_voxel_size(made):
    """bioio reads the OME-TIFF: the voxels, and their size in nanometres."""
    reader = pytest.importorskip("bioio_ome_tiff", reason="bioio-ome-tiff is optional")
    image = reader.Reader(made["tiff"])
    np.testing.assert_array_equal(np.squeeze(image.data), np.load(made["segments"]))
    assert [getattr(image.physical_pixel_sizes, axis) for axis in "ZYX"] == [40, 10, 10]
