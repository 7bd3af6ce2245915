"""How data are divided, which classes their pixels have, and which of them a draw labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

from blockwise.errors import BadInput
from contraband.experiments.study.data import RAW, REGIONS, classes_of, load_data
from contraband.experiments.study.data_settings import StudyData
from contraband.experiments.study.draws import draw_patches, draw_points
from tests.contraband.experiments.study.test_mosaics import tiles
from tests.support.discs import stored_discs


def data(path: Path, **keys) -> StudyData:
    """Settings of a data set, from plain keys."""
    return StudyData.parse({"file": str(path), **keys}, "data")


def test_regions_share_no_mosaic(tmp_path):
    """Of shuffled tiles of six pictures, those of one picture lie in one region, and all images are somewhere."""
    pictures = [tiles(seed, 1, 3) for seed in range(6)]
    order = np.random.default_rng(0).permutation(18)
    raw = np.concatenate(pictures)[order]
    np.savez(tmp_path / "tiles.npz", raw=raw, labels=np.ones(raw.shape, np.uint8))
    found = load_data("tiles", data(tmp_path / "tiles.npz"))
    for picture in range(6):
        assert len(set(found.region_of[order // 3 == picture])) == 1
    assert set(found.region_of) == {0, 1, 2}


def test_ranges_of_sections_are_kept_apart(tmp_path):
    """Sections outside of all ranges belong to no region, and `most` takes an even choice."""
    stored_discs(tmp_path / "discs.npz", 20)
    ranges = {"train": [0, 8, 2], "validate": [9, 12, 1], "test": [13, 20, 1]}
    found = load_data("discs", data(tmp_path / "discs.npz", divided="ranges", ranges=ranges, most={"test": 3}))
    assert np.flatnonzero(found.region_of == 0).tolist() == [0, 2, 4, 6]
    assert [len(found.images(region).raw) for region in REGIONS] == [4, 3, 3]
    assert (found.images("test").raw == found.whole.raw[[13, 16, 19]]).all()
    for overlapping in ([6, 12, 1], [0, 2, 1]):
        with pytest.raises(BadInput, match="overlap"):
            data(tmp_path / "discs.npz", divided="ranges", ranges=ranges | {"validate": overlapping})


def test_classes_tell_inside_from_boundary_and_background():
    """Pixels of an object next to another label are boundary; of membranes, what is no object is boundary too."""
    labels = np.array([[[1, 1, 1, 2, 2, 2, 0, 0]]])
    nuclei = StudyData.parse({"file": "a.npz"}, "data")
    assert classes_of(labels, nuclei).tolist() == [[[1, 1, 2, 2, 1, 2, 0, 0]]]
    membranes = StudyData.parse({"file": "a.npz", "kind": "membranes"}, "data")
    assert classes_of(labels, membranes).tolist() == [[[1, 1, 2, 2, 1, 2, 2, 2]]]
    wide = StudyData.parse({"file": "a.npz", "rim": 2}, "data")
    assert classes_of(labels, wide).tolist() == [[[1, 2, 2, 2, 2, 2, 0, 0]]]


def test_classes_in_3d_see_the_next_section():
    """A voxel whose neighbour above is of another object is boundary in 3D, and inside where sections stand alone."""
    labels = np.stack([np.full((3, 3), number) for number in (1, 1, 1, 2, 2, 2)])
    ranges = {"train": [0, 2, 1], "validate": [2, 4, 1], "test": [4, 6, 1]}
    keys = {"file": "a.npz", "divided": "ranges", "ranges": ranges}
    deep = StudyData.parse(keys | {"dims": 3}, "data")
    assert classes_of(labels, deep)[:, 1, 1].tolist() == [1, 1, 2, 2, 1, 1]
    assert (classes_of(labels, StudyData.parse(keys, "data")) == 1).all()


def test_raw_of_the_training_images_is_stored_once(tmp_path):
    """The container holds the training images, and asking again writes nothing."""
    found = load_data("discs", data(stored_discs(tmp_path / "discs.npz", 12), least_correlation=1.0))
    container = found.container(tmp_path / "data")
    written = (container / RAW / "zarr.json").stat().st_mtime_ns
    assert (zarr.open_array(str(container), path=RAW)[:] == found.images("train").raw).all()
    assert found.container(tmp_path / "data") == container
    assert (container / RAW / "zarr.json").stat().st_mtime_ns == written


@pytest.mark.parametrize("budget", [3, 5, 30, 64])
def test_points_are_drawn_evenly_over_the_classes(budget):
    """Every class gets its third, the first ones the rest; each pixel is drawn once and has the label it is given."""
    classes = np.random.default_rng(0).integers(-1, 3, (3, 20, 20))
    points = draw_points(classes, budget, 7, "budgets")
    counts = np.bincount(points.labels, minlength=3)
    assert counts.sum() == budget
    assert max(counts) - min(counts) <= 1
    assert list(counts) == sorted(counts, reverse=True)
    assert (classes[tuple(points.positions.T)] == points.labels).all()
    assert len(np.unique(points.positions, axis=0)) == budget


def test_a_smaller_budget_is_among_a_larger_one():
    """Points of 8 are points of 64 of the same draw; another draw has others."""
    classes = np.random.default_rng(0).integers(0, 2, (3, 20, 20))
    few, many, other = (draw_points(classes, *which, "budgets") for which in ((8, 1), (64, 1), (8, 2)))
    assert set(map(tuple, few.positions.tolist())) <= set(map(tuple, many.positions.tolist()))
    assert few.positions.tolist() != other.positions.tolist()
    assert few.positions.tolist() == draw_points(classes, 8, 1, "budgets").positions.tolist()


def test_too_few_pixels_of_a_class_are_refused():
    """A class that has three pixels cannot give four, and three classes need three labels."""
    classes = np.zeros((1, 4, 4), np.int8)
    classes[0, 0, :3] = 1
    with pytest.raises(BadInput, match=r"class 1 has too few pixels; got 3, wanted 4"):
        draw_points(classes, 8, 0, "budgets")
    with pytest.raises(BadInput, match="fewer labels than classes"):
        draw_points(classes, 1, 0, "budgets")


def test_files_that_cannot_be_used_are_named(tmp_path):
    """A missing file, a missing array, other shapes and too few mosaics are each told in one line."""
    path = stored_discs(tmp_path / "discs.npz")
    np.savez(tmp_path / "odd.npz", raw=np.zeros((4, 8, 8)), labels=np.zeros((4, 8, 9), np.uint8))
    np.savez(tmp_path / "one.npz", raw=np.zeros((1, 8, 8)), labels=np.zeros((1, 8, 8), np.uint8))
    (tmp_path / "text.npz").write_text("no archive")
    for name, keys, fault in (
        ("none.npz", {}, "no such file"),
        ("text.npz", {}, r"no readable \.npz"),
        ("discs.npz", {"raw": "image"}, "has no array 'image'"),
        ("odd.npz", {}, "one shape"),
        ("one.npz", {}, "too few mosaics"),
    ):
        with pytest.raises(BadInput, match=fault):
            load_data("a", data(path.with_name(name), **keys))


def test_patches_label_every_pixel_of_a_square():
    """Each lies in an image of its own and holds every class; a smaller budget is among a larger one."""
    classes = np.random.default_rng(0).integers(0, 3, (5, 20, 24))
    classes[2] = 0  # in this image no square holds every class
    points = draw_patches(classes, 3, 8, 1, "budgets")
    assert len(points) == 3 * 64
    assert (classes[tuple(points.positions.T)] == points.labels).all()
    for section in set(points.positions[:, 0]):
        inside = points.positions[points.positions[:, 0] == section][:, 1:]
        assert (inside.max(0) - inside.min(0) == 7).all()
        assert section != 2
    fewer = draw_patches(classes, 1, 8, 1, "budgets")
    assert set(map(tuple, fewer.positions.tolist())) < set(map(tuple, points.positions.tolist()))


def test_patches_that_cannot_be_drawn_are_refused():
    """More patches than images, larger ones than images, and more than there are images with every class."""
    classes = np.zeros((4, 8, 8), np.int8)
    classes[0, 3:5] = 1
    for budget, side, fault in ((5, 4, "too few or too small"), (1, 9, "too few or too small"), (2, 7, "every class")):
        with pytest.raises(BadInput, match=fault):
            draw_patches(classes, budget, side, 0, "budgets")
