"""Pictures of a run: slices side by side, loss curves, VOI over threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from blockwise.files.whole import write_whole


def save(figure: Figure, path: Path, dpi: int = 110) -> None:
    """Write a PNG so that it is whole or not there, also where the disk is full."""
    write_whole(path, lambda file: figure.savefig(file, dpi=dpi, format="png"))


def slices(path: Path, panels: Mapping[str, np.ndarray]) -> None:
    """One PNG with 2D panels side by side; integers of 32 bits and more are labels, (y, x, 3) is colour."""
    figure = Figure(figsize=(3.6 * len(panels), 4), layout="constrained")
    for axes, (title, image) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        labels = image.ndim == 2 and image.dtype.kind in "ui" and image.dtype.itemsize >= 4
        axes.imshow(coloured(image) if labels else image, cmap="gray", interpolation="nearest")
        axes.set_title(title)
        axes.axis("off")
    save(figure, path)


def coloured(labels: np.ndarray) -> np.ndarray:
    """(y, x, 3) float32: each label its own colour, the same in every picture; 0 is black."""
    seed = labels.astype(np.uint64)
    hue = (seed * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(40)).astype(np.float64) / 2**24
    value = 0.65 + 0.35 * ((seed * np.uint64(0xC2B2AE3D27D4EB4F) >> np.uint64(40)).astype(np.float64) / 2**24)
    rgb = matplotlib.colors.hsv_to_rgb(np.stack([hue, np.full_like(hue, 0.75), value], axis=-1))
    return np.where((labels > 0)[..., None], rgb, 0).astype(np.float32)


def loss_curves(path: Path, histories: Mapping[str, Sequence[float] | np.ndarray]) -> None:
    """Loss over steps, one panel a training, with a running mean."""
    figure = Figure(figsize=(5 * len(histories), 3.4), layout="constrained")
    panels = figure.subplots(1, len(histories), squeeze=False)[0]
    for axes, (title, losses) in zip(panels, histories.items(), strict=True):
        values = np.asarray(losses, np.float64)
        axes.plot(values, color="0.8", linewidth=0.8)
        width = max(1, min(50, len(values) // 10))
        if len(values) >= width:
            smooth = np.convolve(values, np.ones(width) / width, mode="valid")
            axes.plot(np.arange(width - 1, len(values)), smooth, color="C0")
        axes.set(title=title, xlabel="step", ylabel="loss")
    save(figure, path)


def voi_curve(path: Path, evaluation: Mapping[str, Any], baseline: float | None = None) -> None:
    """VOI split, merge and sum over the threshold; the best one marked, a baseline dashed."""
    rows = evaluation["thresholds"]
    thresholds = [row["threshold"] for row in rows]
    figure = Figure(figsize=(5.5, 3.8), layout="constrained")
    axes = figure.subplots()
    for key, name in (("voi_split", "split"), ("voi_merge", "merge"), ("voi_sum", "sum")):
        axes.plot(thresholds, [row[key] for row in rows], label=name, linewidth=2 if key == "voi_sum" else 1)
    best = evaluation["best"]
    axes.plot([best["threshold"]], [best["voi_sum"]], "ko", label=f"best {best['voi_sum']:.3f}")
    if baseline is not None:
        axes.axhline(baseline, color="0.4", linestyle="--", label=f"Otsu {baseline:.3f}")
    axes.set(xlabel="threshold (mean affinity)", ylabel="VOI (bits)", ylim=(0, None))
    axes.legend()
    save(figure, path)
