"""Gunpowder pipelines: what samples hold, and that they depend on nothing but seed and index."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import zarr
from torch.utils.data import DataLoader

from blockwise.errors import BadInput
from contraband.samples.augment import Augmenter
from contraband.samples.base import Drawing, Pair
from contraband.samples.contrastive import ContrastiveSamples
from contraband.samples.points import Points, generate_points
from contraband.samples.segmentation import SegmentationSamples
from contraband.samples.settings import Augmentations
from contraband.samples.sources import VolumeReader, ZarrVolume
from contraband.samples.sparse import SparseSamples, embeddings_at, labels_around
from contraband.samples.views import two_views

DIMS = {2: ((1, 32, 32), (1, 16, 16), (1, 18, 18)), 3: ((20, 24, 24), (8, 12, 12), (10, 14, 14))}
ALL = {
    "simple": True,
    "elastic": True,
    "blur": True,
    "noise": True,
    "intensity": True,
    "elastic_params": {
        "control_point_spacing": [8, 8, 8],
        "jitter_sigma": [0.5, 0.5, 0.5],
        "rotation_interval": [0, "pi / 2"],
    },
}


@pytest.fixture(scope="module")
def volume(tmp_path_factory) -> str:
    """Raw whose value is a hash of its label, so that every voxel shows where it belongs."""
    path = str(tmp_path_factory.mktemp("data") / "v.zarr")
    labels = np.kron(np.arange(4 * 6 * 6).reshape(4, 6, 6), np.ones((10, 10, 10))).astype(np.uint16)
    group = zarr.open_group(path, mode="w")
    group.create_array("labels", data=labels)
    group.create_array("raw", data=(labels * 37 % 251).astype(np.uint8))
    return path


def pair(path: str) -> Pair:
    return Pair(ZarrVolume(path, "raw"), ZarrVolume(path, "labels"))


def samples(kind: str, path: str, dims: int, in_loader: bool = True, **change):
    shape, output, labels = DIMS[dims]
    augmenter = Augmenter(Augmentations.parse(ALL | change, "test"), shape)
    drawing = Drawing([pair(path)], 5, augmenter, in_loader, output, 1.0)
    if kind == "contrastive":
        return ContrastiveSamples(drawing, 10)
    if kind == "segmentation":
        return SegmentationSamples(drawing, labels)
    return SparseSamples(generate_points(pair(path).labels.open()[:], 8), drawing, labels)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("in_loader", [True, False])
@pytest.mark.parametrize("kind", ["contrastive", "segmentation", "sparse"])
def test_samples_are_stacked_into_batches(kind, in_loader, dims, volume):
    """Two samples make a batch with the promised extents, augmented in the loader or to be augmented later."""
    shape, output, labels = DIMS[dims]
    made = samples(kind, volume, dims, in_loader)
    batch = next(iter(DataLoader(made, batch_size=2, sampler=range(2))))
    raw_shape = shape if in_loader else made.drawing.augmenter.source_shape
    assert batch["raw_0" if kind == "contrastive" and in_loader else "raw"].shape == (2, 1, *raw_shape)
    if kind != "contrastive":
        assert batch["labels"].dtype == torch.int64
        assert batch["labels"].shape[2:] == labels[1:] if in_loader else batch["labels"].shape[2] > labels[1]
    if kind == "sparse":
        assert batch["valid"].any(1).all()
        limits = torch.tensor(output if in_loader else raw_shape)
        assert (batch["points"] < limits).all()
    if kind == "contrastive" and in_loader:
        assert (batch["points_1"] < torch.tensor(output)).all()


@pytest.mark.parametrize("kind", ["contrastive", "segmentation", "sparse"])
def test_batches_do_not_depend_on_the_number_of_workers(kind, volume):
    """Bitwise equal with no and with two loader processes, and from the middle on."""
    made = samples(kind, volume, 2)
    alone = list(DataLoader(made, batch_size=2, sampler=range(8)))
    helped = list(DataLoader(made, batch_size=2, sampler=range(8), num_workers=2))
    later = list(DataLoader(samples(kind, volume, 2), batch_size=2, sampler=range(4, 8)))
    for first, second in [*zip(alone, helped, strict=True), *zip(alone[2:], later, strict=True)]:
        assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(alone[0]["seed"], alone[1]["seed"])


ZOOM = ALL["elastic_params"] | {"scale_interval": [0.7, 2]}


@pytest.mark.parametrize("elastic", [ALL["elastic_params"], ZOOM])
def test_raw_and_labels_stay_together(volume, elastic):
    """After mirroring, transposing, rotating and zooming, raw still shows the label it lies on, borders apart."""
    photometric = {"blur": False, "noise": False, "intensity": False, "elastic_params": elastic}
    made = samples("segmentation", volume, 3, **photometric)
    agreeing = []
    for index in range(6):
        sample = made[index]
        cut = tuple(slice((n - m) // 2, (n + m) // 2) for n, m in zip(DIMS[3][0], DIMS[3][2], strict=True))
        raw, labels = sample["raw"][0][cut], sample["labels"]
        inside = labels >= 0
        agreeing.append(((labels * 37 % 251 - raw).abs() < 0.5)[inside].float().mean())
    assert np.mean(agreeing) > 0.7  # interpolation mixes values across the borders of 10-voxel cubes


@pytest.mark.parametrize("elastic", [ALL["elastic_params"], ZOOM])
def test_points_stay_on_their_labels(volume, elastic):
    """Points carried through the pipeline lie on voxels of the label they were drawn from, one at least in sight."""
    made = samples("sparse", volume, 3, blur=False, noise=False, intensity=False, elastic_params=elastic)
    right = total = 0
    for index in range(10):
        sample = made[index]
        assert sample["valid"].any()
        for row in sample["valid"].nonzero()[:, 0]:
            z, y, x = sample["points"][row] + 1  # labels have a margin of one voxel
            total += 1
            right += int(sample["labels"][z, y, x] == sample["point_labels"][row])
    assert total >= 10
    assert right / total > 0.85  # a rounded point may fall on the other side of a border


def test_beyond_the_volume_raw_is_mirrored_and_labels_are_unknown(volume):
    """The source answers any region."""
    source = pair(volume)
    raw, labels = source.raw.open()[:], source.labels.open()[:]
    begin, end = (-5, -3, 50), (10, 20, 70)
    mirrored = np.pad(raw, ((5, 0), (3, 0), (0, 10)), mode="reflect")[:15, :23, 50:]
    assert (VolumeReader(source.raw).mirrored(begin, end) == mirrored).all()
    unknown = np.pad(labels.astype(np.int64), ((5, 0), (3, 0), (0, 10)), constant_values=-1)[:15, :23, 50:]
    assert (VolumeReader(source.labels).labels(begin, end) == unknown).all()


def test_unlabelled_places_are_drawn_again(tmp_path):
    """With min_labelled, samples lie where labels are; drawing again ends even where there are none."""
    group = zarr.open_group(str(tmp_path / "v.zarr"), mode="w")
    labels = np.zeros((4, 80, 80), np.uint8)
    labels[:, :24, :24] = 1
    group.create_array("labels", data=labels)
    group.create_array("raw", data=labels)
    source = pair(str(tmp_path / "v.zarr"))
    drawing = Drawing([source], 0, Augmenter(Augmentations(), (1, 20, 20)), True, (1, 12, 12), 1.0)
    made = [SegmentationSamples(drawing, (1, 14, 14), least) for least in (0.3, 0.999)]
    assert all((made[0][index]["labels"] > 0).float().mean() >= 0.3 for index in range(6))
    assert made[1][0]["labels"].shape == (1, 14, 14)


def test_several_volumes_are_drawn_by_size(tmp_path):
    """A volume nine times as large gives most of the samples."""
    pairs = []
    for name, size in (("small", 20), ("large", 60)):
        group = zarr.open_group(str(tmp_path / name), mode="w", zarr_format=2)
        group.create_array("raw", data=np.full((3, size, size), size, np.uint8))
        pairs.append(Pair(ZarrVolume(str(tmp_path / name), "raw")))
    augmenter = Augmenter(Augmentations(), (1, 16, 16))
    made = ContrastiveSamples(Drawing(pairs, 0, augmenter, False, (1, 8, 8), 1.0), 4)
    sizes = [float(made[index]["raw"].max()) for index in range(40)]
    assert 30 <= sizes.count(60) < 40


def test_embeddings_and_labels_are_read_at_points(tmp_path):
    """The vectors and neighbourhoods of exactly these voxels."""
    group = zarr.open_group(str(tmp_path / "v.zarr"), mode="w")
    data = np.random.default_rng(0).random((5, 3, 8, 9)).astype(np.float16)
    group.create_array("embs", data=data)
    group.create_array("labels", data=np.arange(216).reshape(3, 8, 9))
    points = Points(np.array([[0, 1, 2], [2, 7, 8]]), np.array([1, 0]))
    container = str(tmp_path / "v.zarr")
    assert (embeddings_at(ZarrVolume(container, "embs"), points) == data[:, [0, 2], [1, 7], [2, 8]].T).all()
    around = labels_around(ZarrVolume(container, "labels"), points, (0, 1, 1))
    assert around[0].tolist() == [[[1, 2, 3], [10, 11, 12], [19, 20, 21]]]
    assert around[1][0, 2].tolist() == [-1, -1, -1]


@pytest.mark.parametrize(
    ("raw", "labels", "part"),
    [
        ("nothing", "labels", "not a zarr array"),
        ("raw", "small", "different shape"),
        ("raw", "raw_float", "whole"),
        ("small", None, "smaller"),
        ("channels", None, "channels"),
        ("line", None, "axes"),
    ],
)
def test_volumes_that_do_not_fit_are_refused(tmp_path, raw, labels, part):
    """One line before anything is trained."""
    group = zarr.open_group(str(tmp_path / "v.zarr"), mode="w")
    shapes = {
        "raw": (9, 9, 9),
        "labels": (9, 9, 9),
        "small": (3, 3, 3),
        "raw_float": (9, 9, 9),
        "channels": (2, 9, 9, 9),
        "line": (9,),
    }
    for name, shape in shapes.items():
        group.create_array(name, data=np.zeros(shape, "f4" if name == "raw_float" else "u1"))
    container = str(tmp_path / "v.zarr")
    with pytest.raises(BadInput, match=part):
        Pair(ZarrVolume(container, raw), ZarrVolume(container, labels) if labels else None).check((4, 4, 4), 1)
    with pytest.raises(BadInput, match="no such zarr"):
        ZarrVolume(str(tmp_path / "no.zarr"), "raw").open()


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("in_loader", [True, False])
def test_places_of_points_are_those_in_the_volume(dims, in_loader, volume):
    """However the first view is turned and zoomed, two points are as far from each other as in the volume."""
    zoom = [1.0, 1.0] if in_loader else [0.7, 1.5]
    params = {"jitter_sigma": [0, 0, 0], "rotation_interval": [0, "2 * pi"], "scale_interval": zoom}
    plain = {"blur": False, "noise": False, "intensity": False}
    made = samples("contrastive", volume, dims, in_loader, elastic_params=params, **plain)
    views = next(iter(DataLoader(made, batch_size=3, sampler=range(3))))
    shrink = torch.ones(3)
    if not in_loader:
        seeds = views["seed"].tolist()
        augmenter = made.drawing.augmenter
        shrink = torch.tensor(augmenter.draw(seeds, torch.device("cpu")).shrink)
        views = two_views(augmenter, views["raw"], seeds, made.drawing.output_shape, 10)
    difference = views["points_0"][:, :1] - views["points_0"][:, 1:]
    # things are zoomed in y and x alone, and z keeps its place or changes it with another axis
    apart = (difference * torch.stack([torch.ones(3), shrink, shrink], dim=1)[:, None]).norm(dim=-1)
    found = (views["places"][:, :1] - views["places"][:, 1:]).norm(dim=-1)
    torch.testing.assert_close(found, apart, atol=1e-3, rtol=1e-4)
