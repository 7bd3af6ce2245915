"""`contraband start`: from a file that nobody has labelled to a first segmentation, and what it says on the way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml

from blockwise.arrays.volume import Volume
from blockwise.kernels.scores.tables import score
from blockwise.kernels.tables import count_overlap
from contraband.cli import call
from contraband.experiments.baselines import baseline_otsu
from contraband.interface import load_settings, run
from tests.support.discs import discs
from tests.support.nuclei import THICKNESS, nuclei
from tests.support.paths import real_data
from tests.support.volumes import digest, whole

SHAPE = (16, 110, 120)


def write_stack(path: Path) -> np.ndarray:
    """A stack as ImageJ writes it; the true objects."""
    raw, labels = nuclei(SHAPE)
    about = {"spacing": 0.25 * THICKNESS, "unit": "um", "axes": "ZYX"}
    tifffile.imwrite(path, raw, imagej=True, resolution=(4, 4), metadata=about)
    return labels


def segments(name: str) -> np.ndarray:
    """The segments that a start has written."""
    return whole(Volume(path=Path("out") / f"{name}.zarr" / "segments" / "0.5"))


def f1(found: np.ndarray, truth: np.ndarray) -> float:
    """F1 of objects at IoU 0.5, background evaluated as in the figures of Otsu's threshold."""
    return score(count_overlap(found, truth.astype(np.uint64)), ignore=()).f1


def files(folder: Path) -> list[str]:
    """All that lies in the folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_touching_nuclei_are_found_without_labels(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A 16 bit anisotropic stack: F1 of at least 0.9, a picture, settings that load, and the next three commands."""
    labels = write_stack(in_tmp / "my stack.tif")
    assert call(["start", "my stack.tif", "--json"]) == 0
    said = capsys.readouterr().out
    assert f1(segments("my-stack"), labels) >= 0.9
    for words in ("16 x 110 x 120 uint16", "1, 0.25, 0.25 um from the ImageJ header", "bright and round", "in 3D"):
        assert words in said
    for command in ("view my-stack.yaml", "label my-stack.yaml", "train EXPERIMENT"):
        assert f"contraband {command}" in said
    assert (in_tmp / "my-stack.png").stat().st_size > 10_000
    told = json.loads(said.splitlines()[-1])
    assert told["classical"]["z_scale"] == 1 / THICKNESS
    rules = load_settings("my-stack.yaml").model.classical
    assert rules.model_dump(mode="json") == told["classical"]


def test_blocks_do_not_change_a_first_segmentation(in_tmp: Path) -> None:
    """Blocks of other shapes give the same bytes, affinities, foreground and segments, in 3D and section by section."""
    write_stack(in_tmp / "a.tif")
    for dims in (2, 3):
        name = f"a{dims}"
        assert call(["start", "a.tif", "--as", name]) == 0
        content = yaml.safe_load(Path(f"{name}.yaml").read_text())
        content["model"]["classical"] |= {"dims": dims, "z_scale": 0.25} | ({"levels": None} if dims == 2 else {})
        content["fragments"]["per_section"] = dims == 2
        made = set()
        for block in ([16, 110, 120], [5, 32, 48], [8, 64, 37]):
            output = f"out/{name}-{block[0]}.zarr"
            run(load_settings(content | {"output": output, "blocks": {"shape": block}}), progress=False)
            made.add(
                tuple(digest(Volume(path=Path(output) / one)) for one in ("affinities", "foreground", "segments/0.5"))
            )
        assert len(made) == 1


def test_a_dry_run_writes_nothing(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what was understood and what would be made, and the folder is as before."""
    write_stack(in_tmp / "a.tif")
    assert call(["start", "a.tif", "--dry-run"]) == 0
    assert files(in_tmp) == ["a.tif"]
    said = capsys.readouterr().out
    assert "would import it to data/a.zarr/raw, write a.yaml" in said
    assert "nothing was written" in said


def test_unrelated_images_are_seen_one_by_one(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A stack of images that have nothing to do with each other is segmented in 2D, each with levels of its own."""
    raw, labels = discs(6)
    np.savez("set.npz", raw=raw, labels=labels)
    assert call(["start", "set.npz", "--name", "raw"]) == 0
    assert "each section by itself (2D)" in capsys.readouterr().out
    settings = load_settings("set.yaml")
    assert settings.fragments.per_section
    assert settings.model.classical.levels is None
    truth = np.where(labels, labels + 64 * np.arange(6)[:, None, None], 0)
    assert f1(segments("set"), truth) > 0.9


def test_a_zarr_is_used_where_it_is(in_tmp: Path) -> None:
    """An OME-Zarr image is not copied: its finest level is raw."""
    raw, labels = nuclei(SHAPE)
    np.save("a.npy", raw)
    assert call(["import", "a.npy", "mine.zarr/image", "--voxel-size", "1,0.25,0.25", "--units", "um"]) == 0
    assert call(["start", "mine.zarr"]) == 0
    assert load_settings("mine.yaml").volume.raw == Path("mine.zarr/image")
    assert not Path("data").exists()
    assert f1(segments("mine"), labels) >= 0.9


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nosuch.tif"], "no such file"),
        (["text.tif"], "text.tif"),
        (["a.tif", "--kind", "trees"], "wanted membranes or nuclei or cells"),
        (["a.tif", "--channel", "4"], "there is no such channel"),
        (["a.tif", "--voxel-size", "1,2"], "is not three numbers"),
        (["two.npz"], "give --name"),
        (["a.tif", "--as", "there"], "there.yaml: is there already"),
    ],
)
def test_bad_input_is_one_line(
    in_tmp: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    """What cannot work is said in one line, exit code 2, and nothing is written."""
    np.savez("two.npz", a=np.zeros((4, 4)), b=np.zeros((4, 4)))
    tifffile.imwrite("a.tif", np.arange(4096, dtype=np.uint8).reshape(64, 8, 8))
    Path("text.tif").write_text("no image")
    Path("there.yaml").write_text("")
    before = files(in_tmp)
    assert call(["start", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert files(in_tmp) == before


@pytest.mark.parametrize(("name", "otsu"), [("dsb_256x256.npz", 0.733), ("dsb_360x360.npz", 0.812)])
@pytest.mark.real_data("dsb_256x256.npz", "dsb_360x360.npz")
@pytest.mark.slow
def test_published_nuclei_are_found_better_than_by_a_threshold(in_tmp: Path, name: str, otsu: float) -> None:
    """F1 at IoU 0.5 on all images of a size is above that of Gaussian, Otsu's threshold and components.

    Without what is too small to be a nucleus it is above that with all of it.
    """
    assert call(["start", str(real_data(name)), "--name", "raw", "--as", "dsb"]) == 0
    with np.load(real_data(name), allow_pickle=False) as data:
        labels = data["labels"].astype(np.int64)
    truth = np.where(labels, labels + 2**20 * np.arange(len(labels))[:, None, None], 0)
    found = f1(segments("dsb"), truth)
    assert found > otsu
    with_crumbs = load_settings(Path("dsb.yaml"), ["segment.min_voxels=0"])
    run(with_crumbs, redo="segment", progress=False)
    assert found > f1(segments("dsb"), truth)


@pytest.mark.real_data("fib25.npz")
@pytest.mark.slow
def test_neuropil_is_segmented_better_than_by_a_threshold(in_tmp: Path) -> None:
    """VOI on the half that is scored is below that of Otsu's threshold, both without a label.

    Without what is too small to be a neurite it is below that with all of it.
    """
    with np.load(real_data("fib25.npz"), allow_pickle=False) as data:
        raw, labels = data["raw"][125:], data["labels"][125:]
    np.save("fib.npy", raw)
    assert call(["start", "fib.npy", "--voxel-size", "10,10,10", "--units", "nm"]) == 0
    ids, counts = np.unique(labels, return_counts=True)
    slivers = [0, *ids[counts < 1000].tolist()]

    def voi(found: np.ndarray) -> float:
        return score(count_overlap(found.astype(np.uint64), labels), ignore=slivers).voi_sum

    ours = voi(segments("fib"))
    run(load_settings(Path("fib.yaml"), ["segment.min_voxels=0"]), redo="segment", progress=False)
    assert ours < voi(segments("fib")) < voi(baseline_otsu(raw))
