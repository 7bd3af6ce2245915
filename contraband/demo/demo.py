"""The whole line on a made-up volume: volume, contrastive encoder, affinity head, segmentation, scores, pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from funlib.geometry import Roi
from rich.console import Console

from blockwise.arrays.volume import Volume, create, info, read, write
from blockwise.engine.options import Progress, RunOptions, StageResult
from blockwise.files.whole import write_json
from blockwise.kernels.scores.tables import score
from blockwise.kernels.tables import count_overlap
from blockwise.stages.evaluate.stage import as_row
from contraband.demo.synthetic import em_like
from contraband.experiments.baselines import baseline_otsu
from contraband.experiments.folders import Experiment
from contraband.experiments.params import load_params
from contraband.experiments.train import train_contrastive, train_seg
from contraband.training.state import StepProgress
from contraband.volumes import figures
from contraband.volumes.line import stages
from contraband.volumes.output import Output
from contraband.volumes.report import as_rows, by_stage, nearest_rows, print_scores, print_stages, read_json
from contraband.volumes.run import execute
from contraband.volumes.settings import load_volume_settings

SHAPE = (128, 160, 160)
SPLIT = 64
"""Sections below this are trained on, the others are scored."""
BLOCK = (32, 80, 80)
SEED = 7

Say = Callable[[str], None]


@dataclass(frozen=True)
class Demo:
    """Where the demo keeps its things, and whom it tells."""

    folder: Path
    say: Say
    training_progress: Progress
    """Gets (training, step, steps in all, note)."""
    progress: Progress
    """Gets (stage, blocks done, blocks in all)."""

    @property
    def volume(self) -> Path:
        """The made-up volume."""
        return self.folder / "volume.zarr"

    @property
    def experiment(self) -> Experiment:
        """The trainings."""
        return Experiment(self.folder / "experiments" / "demo" / "EXP1-demo-11-22-2026")


def run_demo(demo: Demo, console: Console) -> None:
    """Run everything; the last lines printed are the table of scores. What is finished already is not repeated."""
    demo.say("1/5 volume: cells with thick membranes, organelles and noise")
    make_volume(demo.volume)
    demo.say("2/5 training: contrastive encoder, then affinity head")
    train(demo)
    demo.say("3/5 training half: predict, segment, choose the threshold")
    run_half(demo, "train", None)
    chosen = float(read_json(demo.folder / "train.zarr" / "evaluation.json")["best"]["threshold"])
    demo.say(f"4/5 the other half, not trained on, at threshold {chosen:g}")
    results = run_half(demo, "test", chosen)
    demo.say("5/5 Otsu for comparison, pictures")
    otsu_labels, otsu = baseline(demo)
    draw(demo, chosen, otsu_labels, otsu["voi_sum"])
    print_stages(console, as_rows(by_stage(results)))
    console.print(f"\npictures and volumes: {demo.folder}/")
    evaluation = read_json(demo.folder / "test.zarr" / "evaluation.json")
    rows = nearest_rows(evaluation, [chosen])
    console.print("scores on the half that was not trained on (VOI in bits, adapted Rand as error; 0 is perfect)\n")
    print_scores(
        console,
        [
            ("Gaussian + Otsu + components", otsu),
            ("contraband, best threshold", rows[0][1]),
            ("contraband, threshold chosen on the training half", rows[1][1]),
        ],
    )


def make_volume(path: Path) -> None:
    """Write raw and labels of both halves, unless they are there."""
    if (path / "test" / "labels").exists():
        return
    raw, labels = em_like(SHAPE, SEED)
    for half, sections in (("train", slice(0, SPLIT)), ("test", slice(SPLIT, None))):
        for name, data in (("raw", raw[sections]), ("labels", labels[sections])):
            volume = Volume(path=path / half / name)
            create(volume, data.shape, str(data.dtype), BLOCK)
            write(volume, Roi((0, 0, 0), data.shape), data)


def param_dict(volume: Path) -> dict[str, Any]:
    """The demo's experiment in the words of `param_dict.json`."""
    return {
        "pipeline": "standard",
        "model": [
            {
                "model": "unet",
                "in_shape": [60, 60, 60],
                "num_fmaps": 12,
                "fmap_inc_factors": 3,
                "downsample_factors": [[2, 2, 2], [2, 2, 2]],
                "h_channels": 12,
                "contrastive_out_channels": 12,
            }
        ],
        "contrastive": {
            "data_file": [str(volume)],
            "dataset": [["train/raw"]],
            "optimizer": ["adam"],
            "lr": [1e-4],
            "num_iterations": [200],
            "save_every": [200],
            "simple": [True],
            "noise": [True],
            "blur": [False],
            "intensity": [True],
            "elastic": [False],
            "noise_params": [{"var": 0.001}],
            "point_density": [0.03],
            "temperature": [0.2],
            "max_seconds": [50],
        },
        "seg": {
            "data_file": [str(volume)],
            "dataset": [
                {
                    "train": {"raw": "train/raw", "gt": "train/labels"},
                    "validate": {"raw": "test/raw", "gt": "test/labels"},
                }
            ],
            "optimizer": ["adam"],
            "lr": [4e-4],
            "num_iterations": [1400],
            "save_every": [1400],
            "simple": [True],
            "noise": [True],
            "intensity": [True],
            "blur": [False],
            "elastic": [False],
            "ema_decay": [0.98],
            "noise_params": [{"var": 0.001}],
            "seg_head": ["Simple"],
            "freeze_base": [False],
            "thresholds": [[0.5]],
            "max_seconds": [180],
            "grow_boundary": [1],
        },
    }


def train(demo: Demo) -> None:
    """Train the encoder and the head; finished trainings are kept."""
    demo.experiment.path.mkdir(parents=True, exist_ok=True)
    if not demo.experiment.param_dict.exists():
        write_json(demo.experiment.param_dict, param_dict(demo.volume))
    params = load_params(demo.experiment.param_dict)
    encoder = demo.experiment.contrastive(0)
    if not encoder.saved_steps():
        train_contrastive(params, demo.experiment, 0, told(demo, "contrastive"))
    checkpoint = encoder.saved_steps()[-1]
    if not demo.experiment.seg(0, 0, checkpoint).saved_steps():
        train_seg(params, demo.experiment, 0, [checkpoint], told(demo, "affinity head"))


def told(demo: Demo, name: str) -> StepProgress:
    """The progress of one training, told to the demo."""

    def progress(step: int, total: int, loss: float, its: float) -> None:
        demo.training_progress(name, step, total, f"loss {loss:.4f}, {its:.2f} it/s")

    return progress


def run_half(demo: Demo, half: str, threshold: float | None) -> list[StageResult]:
    """Write the settings file of one half and run it on a local Dask cluster."""
    path = demo.folder / f"{half}.yaml"
    volume = demo.volume / half
    encoder = demo.experiment.contrastive(0).saved_steps()[-1]
    settings = {
        "volume": {"raw": str(volume / "raw"), "labels": str(volume / "labels")},
        "model": {"checkpoint": str(demo.experiment.seg(0, 0, encoder).checkpoints)},
        "output": str(demo.folder / f"{half}.zarr"),
        "blocks": {"shape": list(BLOCK)},
        "segment": {"thresholds": [threshold if threshold is not None else 0.5]},
        "cluster": {"kind": "local", "workers": 2, "threads": 1},
    }
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    loaded = load_volume_settings(path)
    return execute(loaded, stages(loaded), RunOptions(progress=demo.progress, announce=demo.say))


def baseline(demo: Demo) -> tuple[np.ndarray, dict[str, Any]]:
    """Gaussian + Otsu + connected components on the scored half: labels and scores."""
    raw, truth = (_whole(demo.volume / "test" / name) for name in ("raw", "labels"))
    labels = baseline_otsu(raw)
    return labels, as_row(score(count_overlap(labels.astype(np.uint64), truth.astype(np.uint64)), (0,)))


def draw(demo: Demo, threshold: float, otsu: np.ndarray, otsu_voi: float) -> None:
    """Write slices.png, loss.png and voi.png."""
    middle = (SHAPE[0] - SPLIT) // 2
    output = demo.folder / "test.zarr"
    affinities = _whole(output / "affinities")[:, middle]
    figures.slices(
        demo.folder / "slices.png",
        {
            "raw": _whole(demo.volume / "test" / "raw")[middle],
            "affinities (z, y, x as RGB)": np.moveaxis(affinities, 0, -1),
            f"segments at {threshold:g}": _whole(output / "segments" / f"{threshold:g}")[middle],
            "truth": _whole(demo.volume / "test" / "labels")[middle],
            "Otsu": otsu[middle].astype(np.uint64),
        },
    )
    encoder = demo.experiment.contrastive(0)
    head = demo.experiment.seg(0, 0, encoder.saved_steps()[-1])
    histories = {"contrastive": encoder.history, "affinity head": head.history}
    figures.loss_curves(
        demo.folder / "loss.png",
        {name: np.load(path, allow_pickle=False) for name, path in histories.items()},
    )
    settings = load_volume_settings(demo.folder / "test.yaml")
    figures.voi_curve(demo.folder / "voi.png", read_json(Output(settings.output).evaluation), otsu_voi)


def _whole(path: Path) -> np.ndarray:
    volume = Volume(path=path)
    return read(volume, Roi((0, 0, 0), info(volume).spatial))
