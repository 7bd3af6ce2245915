"""How good the segmentation is, beside waterz on the same affinities: VOI sums in bits, 0 is perfect."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from blockwise.arrays.info import SPATIAL
from blockwise.arrays.volume import Volume, open_array
from contraband.demo.synthetic import neurites
from tests.benchmarks.report import Row
from tests.support.measuring import Ours, merged_voi, ours, waterz_best
from tests.support.paths import ROOT
from tests.support.synthetic_affinities import affinities_from_labels, thin_affinities

NAME = "quality"
SMALL, LARGE = (64, 96, 96), (128, 192, 192)
LEAST_VOXELS = 1000
"""Bodies of fib25 below this are slivers at the border of the volume."""


def measure(folder: Path, quick: bool) -> list[Row]:
    """Thick and thin membranes, made up; and fib25, where `configs/fib25-*.yaml` were run."""
    shape = SMALL if quick else LARGE
    return [*thick(shape), *thin(shape), *fib25()]


def thick(shape: tuple[int, int, int]) -> list[Row]:
    """EM-like cells with thick membranes; the threshold is chosen on another volume."""
    other, truth = (neurites(shape, seed, 22.0) for seed in (1, 2))
    chosen = ours(affinities_from_labels(other, 1), other).best
    affinities = affinities_from_labels(truth, 2)
    found = ours(affinities, truth)
    reference = waterz_best(affinities, truth)
    same = waterz_best(affinities, truth, found.fragments)
    size = f"thick membranes, {truth.size:,} voxels"
    return [
        Row(f"{size}: ours", found.voi[chosen], "bits", f"<= {reference:.3f}", note="threshold of another volume"),
        Row(f"{size}: ours", found.voi[found.best], "bits", note="best threshold"),
        Row(f"{size}: waterz", reference, "bits", note="mean, its own watershed, best threshold"),
        Row(f"{size}: waterz", same, "bits", note="mean, our fragments, best threshold"),
        Row(f"{size}: ours", found.edges_a_voxel, "edges/voxel", "<= 0.008"),
    ]


def thin(shape: tuple[int, int, int]) -> list[Row]:
    """Membranes without thickness, at threshold 0.5."""
    truth = neurites(shape, 2, 22.0)
    found = ours(thin_affinities(truth, 2), truth)
    note = f"threshold 0.5; all merged: {merged_voi(truth):.2f}"
    return [Row(f"membranes without thickness, {truth.size:,} voxels: ours", found.voi[0.5], "bits", note=note)]


def fib25() -> list[Row]:
    """Affinities of fib25 that a network predicted; the threshold is chosen on the half it was trained on."""
    halves = [_half(name) for name in ("train", "test")]
    train, test = halves
    if train is None or test is None:
        return []
    chosen = train.best
    return [
        Row("fib25, test half: ours", test.voi[chosen], "bits", note=f"threshold of the training half, {chosen:g}"),
        Row("fib25, test half: ours", test.edges_a_voxel, "edges/voxel", "<= 0.008"),
    ]


def _half(name: str) -> Ours | None:
    paths = (ROOT / f"out/fib25-{name}.zarr/affinities", ROOT / f"data/fib25.zarr/{name}/labels")
    if not all(path.exists() for path in paths):
        return None
    affinities, labels = (np.asarray(open_array(Volume(path=path))[...]) for path in paths)
    ids, voxels = np.unique(labels, return_counts=True)
    slivers = [0, *ids[voxels < LEAST_VOXELS].tolist()]
    return ours(affinities[: len(SPATIAL)], labels, slivers)
