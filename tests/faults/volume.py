"""The small volumes on which runs are struck, and what is compared of their outputs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import zarr

from blockwise.arrays.opening import open_group, opened_by_zarr
from blockwise.arrays.volume import Volume
from blockwise.grid import Voxels, pack
from blockwise.stages.agglomerate.stage import read_dendrogram
from tests.support.tiny import tiny_experiment
from tests.support.volumes import cells, store_volume

SHAPE: Voxels = (18, 27, 30)
BLOCK: Voxels = (7, 10, 11)
"""3 x 3 x 3 blocks, the last of each axis smaller."""
MIDDLE = pack((1, 1, 1))
LAST = pack((2, 2, 2))
RAW_SHAPE: Voxels = (16, 20, 20)
THRESHOLDS = (0.3, 0.5)

SETTINGS = """
volume:      {{labels: {volumes}/vol.zarr/labels}}
affinities:  {volumes}/vol.zarr/affinities
output:      {output}
blocks:      {{shape: {block}}}
agglomerate: {{stop: 0.05}}
segment:     {{thresholds: [0.3, 0.5]}}
store:       {store}
"""
PREDICTED = """
volume:      {{raw: {volumes}/raw.zarr/raw}}
model:       {{checkpoint: {folder}/checkpoint, tile: [8, 8, 8], precision: float32, device: cpu}}
output:      {output}
blocks:      {{shape: {block}}}
segment:     {{thresholds: [0.3, 0.5]}}
store:       {store}
"""


def make_volume(folder: Path) -> None:
    """Affinities of eight levels only, so that most edges tie, and labels."""
    affinities, labels = cells(SHAPE)
    store_volume(folder / "vol.zarr" / "affinities", affinities // 32 * 36)
    store_volume(folder / "vol.zarr" / "labels", labels)


def make_checkpoint(folder: Path) -> None:
    """A network trained for some steps, and a raw image it can predict."""
    from contraband.experiments.train import train_seg

    experiment, params = tiny_experiment(folder / "training", 3, baseline=True, seg_head="Simple")
    (folder / "checkpoint").symlink_to(train_seg(params, experiment, 0)[0])
    raw = np.asarray(zarr.open_array(folder / "training" / "data.zarr" / "raw", mode="r")[:])
    store_volume(folder / "raw.zarr" / "raw", raw[tuple(slice(0, size) for size in RAW_SHAPE)])


def sums(output: Path, beside: Path | None = None) -> dict[str, str]:
    """sha256 of every array's voxels, of the metadata that people read, and of evaluation.json.

    beside: where the files lie that are no arrays, if not there.
    """
    beside = beside or output
    arrays = ["affinities", "fragments", *(f"segments/{threshold}" for threshold in THRESHOLDS)]
    found = {}
    if (output / "agglomeration").exists():
        tree = read_dendrogram(Volume(path=output / "agglomeration"))  # however many pieces it is stored in
        for name in ("fragment", "parent", "score"):
            found[f"agglomeration/{name}"] = digest(getattr(tree, name).tobytes())
    for name in arrays:
        if not (output / name).exists():
            continue
        array = zarr.open_array(opened_by_zarr(output / name), mode="r")
        data = np.ascontiguousarray(array[:])
        found[name] = digest(f"{data.dtype} {data.shape} {dict(array.attrs)}".encode() + data.tobytes())
    for name in ("", "segments"):
        attributes = dict(open_group(output / name).attrs)
        attributes.pop("run", None)
        found[f"metadata {name}".strip()] = digest(json.dumps(attributes, sort_keys=True).encode())
    if (beside / "evaluation.json").exists():
        found["evaluation.json"] = digest((beside / "evaluation.json").read_bytes())
    report = json.loads((beside / "report.json").read_text())
    found["report.json"] = " ".join(report["stages"])
    return found


def digest(data: bytes) -> str:
    """sha256."""
    return hashlib.sha256(data).hexdigest()
