"""Small volumes for tests, and their whole line from affinities to scores."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from funlib.geometry import Roi
from scipy import ndimage

from blockwise.arrays.volume import Volume, create, info, read, write
from blockwise.grid import Voxels
from blockwise.stage import Stage
from blockwise.stages.agglomerate.stage import Agglomerate, AgglomerateSettings
from blockwise.stages.edges import Edges, EdgeSettings
from blockwise.stages.evaluate.best import sweep_thresholds
from blockwise.stages.evaluate.stage import Evaluate, EvaluateSettings
from blockwise.stages.fragments import Fragments, FragmentSettings
from blockwise.stages.segment import Segment

NEAREST = [[-1, 0, 0], [0, -1, 0], [0, 0, -1]]


def cells(shape: Voxels, seed: int = 0, spacing: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Noisy uint8 affinities (3, z, y, x) of Voronoi cells with blurred membranes, and the cells (uint32, from 1)."""
    rng = np.random.default_rng(seed)
    count = max(2, int(np.prod(shape)) // spacing**3)
    seeds = np.zeros(shape, np.uint32)
    places = rng.choice(seeds.size, count, replace=False)
    seeds.ravel()[places] = np.arange(1, count + 1)
    nearest = ndimage.distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
    labels = seeds[tuple(nearest)]
    affinities = np.empty((3, *shape), np.uint8)
    for axis in range(3):
        before = np.roll(labels, 1, axis)
        apart = ndimage.gaussian_filter((labels != before).astype(np.float32), 0.8)
        noisy = 0.92 - 1.8 * apart + rng.normal(0, 0.06, shape)
        affinities[axis] = np.rint(np.clip(noisy, 0, 1) * 255)
    return affinities, labels


def store_volume(path: Path, data: np.ndarray, block: Voxels = (16, 16, 16), **attributes: object) -> Volume:
    """Write an array as a volume; four axes are affinities and get offsets."""
    volume = Volume(path=path)
    if data.ndim == 4 and "offsets" not in attributes:
        attributes["offsets"] = NEAREST[-len(data) :]
    create(volume, data.shape, str(data.dtype), block, attributes=attributes)
    write(volume, Roi((0, 0, 0), data.shape[-3:]), data)
    return volume


def store_tied(path: Path, shape: Voxels) -> Volume:
    """Small cells with affinities of nine levels, so that edges tie."""
    return store_volume(path, cells(shape, spacing=6)[0] // 28 * 28)


def whole(volume: Volume) -> np.ndarray:
    """All voxels."""
    return read(volume, Roi((0, 0, 0), info(volume).spatial))


def digest(volume: Volume) -> str:
    """sha256 of all voxels."""
    return hashlib.sha256(np.ascontiguousarray(whole(volume)).tobytes()).hexdigest()


def line(
    output: Path,
    affinities: Volume,
    block: Voxels,
    labels: Volume | None = None,
    threshold: float = 0.5,
    stop: float = 0.0,
    merging: dict[str, str] | None = None,
    mask: Volume | None = None,
    likelihood: Volume | None = None,
    **rules: object,
) -> list[Stage]:
    """Every stage from stored affinities on; the arrays lie under `output`.

    likelihood: of the foreground. rules: the settings of fragments.
    """
    shape = info(affinities).spatial
    fragments, tree = Volume(path=output / "fragments"), Volume(path=output / "agglomeration")
    cutting = FragmentSettings(**rules)
    merges = AgglomerateSettings(stop=stop, **(merging or {}))
    stages: list[Stage] = [
        Fragments(
            affinities=affinities,
            target=fragments,
            mask=mask,
            shape=shape,
            block=block,
            settings=cutting,
            foreground=likelihood,
        ),
        Edges(
            affinities=affinities,
            fragments=fragments,
            shape=shape,
            block=block,
            settings=EdgeSettings(),
            per_section=bool(cutting.per_section),
            histograms=merges.statistic.percent > 0,
        ),
        Agglomerate(affinities=affinities, fragments=fragments, target=tree, shape=shape, block=block, settings=merges),
        Segment(
            fragments=fragments,
            target=Volume(path=output / "segments" / f"{threshold:g}"),
            dendrogram=tree,
            shape=shape,
            block=block,
            threshold=threshold,
            stop=stop,
            numbers="fragment",
        ),
    ]
    if labels is not None:
        stages.append(
            Evaluate(
                fragments=fragments,
                labels=labels,
                dendrogram=tree,
                target=output / "evaluation.json",
                shape=shape,
                block=block,
                truth_shape=info(labels).spatial,
                settings=EvaluateSettings(),
                thresholds=sweep_thresholds(stop, [threshold]),
            )
        )
    return stages
