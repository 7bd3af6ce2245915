"""`contraband start` of images as people have them in 2D: a folder of several sizes, and one that is very large."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from blockwise.arrays.volume import Volume, info
from blockwise.kernels.scores.tables import score
from blockwise.kernels.tables import count_overlap
from contraband.cli import call
from contraband.interface import load_settings, open_result, run
from contraband.volumes.view.picture import panels
from tests.support.discs import discs
from tests.support.volumes import whole

SIZES = ((64, 64), (40, 61), (64, 50), (33, 64), (57, 38))


@pytest.fixture
def images(in_tmp: Path) -> list[np.ndarray]:
    """A folder `cells` of five images of discs, each of another size, and one of their true objects; the images."""
    raw, labels = discs(len(SIZES))
    Path("cells").mkdir()
    Path("truth").mkdir()
    cut = [one[:height, :width] for one, (height, width) in zip(raw, SIZES, strict=True)]
    for number, (one, truth) in enumerate(zip(cut, labels, strict=True), 8):  # cell10 comes after cell9
        Image.fromarray(one).save(f"cells/cell{number}.png")
        Image.fromarray(truth[: one.shape[0], : one.shape[1]]).save(f"truth/cell{number}.png")
    return cut


def same_objects(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether both name the same objects, under whatever numbers."""
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]).astype(np.int64), axis=1)
    return bool(all(len(np.unique(side)) == pairs.shape[1] for side in pairs)) and bool(
        ((one > 0) == (other > 0)).all()
    )


def test_a_folder_of_images_of_different_sizes_becomes_one_stack(
    images: list[np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    """What is said: how many, from which size to which; what is written: stack, mask, and settings that name both."""
    assert call(["start", "cells", "--json"]) == 0
    said = capsys.readouterr().out
    assert "images      5, from 33 x 64 to 64 x 64: smaller ones are padded, and what is no image is masked" in said
    assert "each section by itself (2D)" in said
    assert "contraband export cells.yaml cells-segments" in said
    assert json.loads(said.splitlines()[-1])["mask"] == "data/cells.zarr/mask"
    settings = load_settings("cells.yaml")
    assert settings.volume.mask == Path("data/cells.zarr/mask")
    raw = Volume(path=Path("data/cells.zarr/raw"))
    assert info(raw).attributes["images"] == [[f"cell{8 + z}.png", *size] for z, size in enumerate(SIZES)]
    mask, stack = whole(Volume(path=settings.volume.mask)), whole(raw)
    for z, one in enumerate(images):
        height, width = one.shape
        np.testing.assert_array_equal(stack[z, :height, :width], one)
        assert mask[z, :height, :width].all()
        assert mask[z].sum() == one.size
    assert not whole(Volume(path=Path("out/cells.zarr/segments/0.5")))[mask == 0].any()


def test_a_picture_shows_an_image_without_its_padding(images: list[np.ndarray]) -> None:
    """The section in the middle is that image, and what was found in it; not its mirror image beside it."""
    assert call(["start", "cells"]) == 0
    shown = panels(load_settings("cells.yaml"))
    assert {title: plane.shape for title, plane in shown.items()} == {"raw": (64, 50), "segments at 0.5": (64, 50)}
    middle = images[2].astype(float)
    assert np.corrcoef(shown["raw"].ravel(), middle.ravel())[0, 1] > 0.99
    segments = whole(Volume(path=Path("out/cells.zarr/segments/0.5")))
    np.testing.assert_array_equal(shown["segments at 0.5"], segments[2, :64, :50])


def test_each_image_is_segmented_as_if_it_were_alone(images: list[np.ndarray]) -> None:
    """Its objects are those of a start with the image alone and the same rules, voxel by voxel, whatever the blocks."""
    assert call(["start", "cells"]) == 0
    found = load_settings("cells.yaml")
    for block in ((5, 64, 64), (2, 24, 40)):
        together = found.model_copy(
            update={"output": Path(f"out/{block[0]}.zarr"), "blocks": found.blocks.model_copy(update={"shape": block})}
        )
        run(together, progress=False)
        segments = whole(Volume(path=Path(f"out/{block[0]}.zarr/segments/0.5")))
        for z, one in enumerate(images):
            name = f"alone{block[0]}-{z}"
            assert call(["import", f"cells/cell{8 + z}.png", f"data/{name}.zarr/raw"]) == 0
            volume = found.volume.model_copy(update={"raw": Path(f"data/{name}.zarr/raw"), "mask": None})
            run(together.model_copy(update={"volume": volume, "output": Path(f"out/{name}.zarr")}), progress=False)
            alone = whole(Volume(path=Path(f"out/{name}.zarr/segments/0.5")))[0]
            assert alone.any()
            assert same_objects(segments[z, : one.shape[0], : one.shape[1]], alone)


def test_the_segments_of_each_image_are_found_again(images: list[np.ndarray]) -> None:
    """An export into a folder has a TIFF for each image, of its name and size, with numbers that no other image has."""
    assert call(["start", "cells"]) == 0
    assert call(["export", "cells.yaml", "found"]) == 0
    assert sorted(path.name for path in Path("found").iterdir()) == sorted(f"cell{8 + z}.tif" for z in range(5))
    segments = whole(Volume(path=Path("out/cells.zarr/segments/0.5")))
    seen: set[int] = set()
    for z, one in enumerate(images):
        stored = tifffile.imread(f"found/cell{8 + z}.tif")
        assert stored.shape == one.shape
        assert same_objects(stored, segments[z, : one.shape[0], : one.shape[1]])
        numbers = set(np.unique(stored[stored > 0]).tolist())
        assert numbers
        assert not numbers & seen
        seen |= numbers
    assert seen == set(range(1, len(seen) + 1))


def test_true_objects_of_a_folder_are_imported_alike(
    images: list[np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    """`import --labels --pad` puts images of objects where the images are, with 0 beside them, so a run has scores."""
    assert call(["start", "cells"]) == 0
    assert call(["import", "truth", "data/cells.zarr/labels", "--labels", "--pad"]) == 0
    truth = whole(Volume(path=Path("data/cells.zarr/labels")))
    assert not truth[whole(Volume(path=Path("data/cells.zarr/mask"))) == 0].any()
    numbered = np.where(truth, truth + 64 * np.arange(len(truth))[:, None, None], 0).astype(np.uint64)
    segments = whole(Volume(path=Path("out/cells.zarr/segments/0.5")))
    f1 = score(count_overlap(segments, numbered), ignore=()).f1
    assert f1 > 0.9
    chosen = ["--set", "volume.labels=data/cells.zarr/labels", "--set", "evaluate.ignore=[]"]
    assert call(["evaluate", "cells.yaml", *chosen]) == 0
    # Object 1 of an image is not that of another one, though nobody has said so.
    rows = {row["threshold"]: row for row in open_result("out/cells.zarr").evaluation["thresholds"]}
    assert rows[0.5]["f1"] == f1
    capsys.readouterr()
    assert call(["evaluate", "cells.yaml", *chosen, "--hausdorff"]) == 2
    assert "labels of single sections" in capsys.readouterr().err


def test_images_of_one_size_are_no_padded_stack(in_tmp: Path) -> None:
    """There is no mask, the stack is that of before, and images are found again all the same."""
    raw, _ = discs(3)
    Path("cells").mkdir()
    for number, one in enumerate(raw):
        tifffile.imwrite(f"cells/a{number}.tif", one)
    assert call(["start", "cells"]) == 0
    assert load_settings("cells.yaml").volume.mask is None
    assert not Path("data/cells.zarr/mask").exists()
    np.testing.assert_array_equal(whole(Volume(path=Path("data/cells.zarr/raw"))), raw)
    assert call(["export", "cells.yaml", "found"]) == 0
    assert sorted(path.name for path in Path("found").iterdir()) == ["a0.tif", "a1.tif", "a2.tif"]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (np.zeros((20, 30), np.uint16), "grey, uint16, wanted grey, uint8"),
        (np.zeros((20, 30, 3), np.uint8), "3 channels, uint8, wanted grey, uint8"),
    ],
)
def test_images_of_different_kinds_are_refused(
    images: list[np.ndarray], capsys: pytest.CaptureFixture[str], other: np.ndarray, words: str
) -> None:
    """Another type of numbers, or colours among grey images: one line that names the image, and nothing is written."""
    Image.fromarray(other).save("cells/cell30.png")
    before = sorted(Path().rglob("*"))
    assert call(["start", "cells"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "cell30.png: is of another kind than cell8.png" in line
    assert words in line
    assert sorted(Path().rglob("*")) == before


def test_an_export_into_a_folder_needs_a_folder_of_images(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that began with anything else says which names of targets there are."""
    np.save("a.npy", discs(2)[0])
    assert call(["start", "a.npy"]) == 0
    assert call(["export", "a.yaml", "found"]) == 2
    assert "does not say a format" in capsys.readouterr().err
    assert not Path("found").exists()


@pytest.mark.slow
def test_a_large_single_image_is_segmented_in_blocks(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A packed TIFF of 3000 x 3000: what is repeated in it is found alike everywhere, whatever block it lies in."""
    piece = discs(1)[0][0]
    tifffile.imwrite("large.tif", np.tile(piece, (47, 47))[:3000, :3000], compression="zlib", tile=(512, 512))
    assert call(["start", "large.tif", "--kind", "nuclei"]) == 0
    said = capsys.readouterr().out
    assert "1 x 3000 x 3000 uint8" in said
    assert info(Volume(path=Path("data/large.zarr/raw"))).unit_of_writing == (1, 512, 512)
    settings = load_settings("large.yaml")
    assert settings.blocks.shape == (1, 512, 512)
    segments = whole(Volume(path=Path("out/large.zarr/segments/0.5")))[0]
    tiled = segments[64 : 64 * 46, 64 : 64 * 46].reshape(45, 64, 45, 64)
    assert ((tiled > 0) == (tiled[:1, :, :1] > 0)).all()
    assert len(np.unique(segments)) > 46 * 46
