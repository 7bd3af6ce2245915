"""What twenty corrections are worth on real data: the first false merges of the list, split as `correct` is told to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

import contraband as cb
from tests.support.paths import real_data
from tests.support.volumes import store_volume

CORRECTIONS = 20


def boundaries_of_gala() -> tuple[np.ndarray, np.ndarray]:
    """Published probabilities of boundaries, and the truth."""
    with np.load(real_data("gala.npz"), allow_pickle=False) as data:
        return data["boundary_prob"], data["labels"]


def boundaries_of_fib25() -> tuple[np.ndarray, np.ndarray]:
    """What can be told without a network: how dark each voxel is, of half the sections of one half; and the truth."""
    with np.load(real_data("fib25.npz"), allow_pickle=False) as data:
        raw, labels = (data[name][125:189] for name in ("raw", "labels"))
    smooth = ndimage.gaussian_filter(raw.astype(np.float32), 1)
    low, high = np.percentile(smooth, (2, 60))
    return np.clip((high - smooth) / (high - low), 0, 1), labels


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("gala", marks=pytest.mark.real_data("gala.npz")),
        pytest.param("fib25", marks=pytest.mark.real_data("fib25.npz")),
    ],
)
def test_twenty_splits_of_the_first_false_merges_lower_the_voi(name: str, tmp_path: Path) -> None:
    """The best VOI falls, and so does that at the threshold that was best before; by how much is printed."""
    boundary, labels = boundaries_of_gala() if name == "gala" else boundaries_of_fib25()
    joined = []
    for axis in range(3):
        before = np.concatenate([np.take(boundary, [0], axis), np.delete(boundary, -1, axis)], axis)
        joined.append(1 - np.maximum(boundary, before))
    affinities = np.round(255 * np.stack(joined)).astype(np.uint8)
    store_volume(tmp_path / "vol.zarr" / "affinities", affinities, (32, 64, 64))
    store_volume(tmp_path / "vol.zarr" / "labels", labels.astype(np.uint64), (32, 64, 64))
    settings = cb.load_settings(
        {
            "volume": {"labels": tmp_path / "vol.zarr" / "labels"},
            "affinities": tmp_path / "vol.zarr" / "affinities",
            "output": tmp_path / "out.zarr",
            "blocks": {"shape": [32, 64, 64]},
            "evaluate": {"false_merges": CORRECTIONS},
            "cluster": {"kind": "none"},
        }
    )
    first = cb.evaluate(settings, progress=False)
    splits = ["{},{}".format(*row["fragments"]) for row in first["false_merges"]]
    assert len(splits) == CORRECTIONS
    cb.correct(settings, split=splits, progress=False)
    after = cb.open_result(settings).evaluation
    at = first["best"]["threshold"]
    same = next(row for row in after["thresholds"] if row["threshold"] == at)
    print(
        f"{name}: best VOI {first['best']['voi_sum']:.4f} at {at:g}, with {CORRECTIONS} corrections "
        f"{after['best']['voi_sum']:.4f} at {after['best']['threshold']:g}; at {at:g}: {same['voi_sum']:.4f}"
    )
    assert after["best"]["voi_sum"] < first["best"]["voi_sum"]
    assert same["voi_sum"] < first["best"]["voi_sum"]
