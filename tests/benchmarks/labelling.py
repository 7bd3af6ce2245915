"""How long a person waits after a click: the fit of a quick head, then prediction and segments of the screen.

And what denoising adds to a step of the training behind the page. `python -m tests.benchmarks --only labelling`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from funlib.geometry import Roi

from contraband.experiments.behind.params import default_params, for_session
from contraband.experiments.building import seg_task
from contraband.experiments.params import parse_params
from contraband.label.session import LabelSession
from contraband.label.settings import LabelSettings
from contraband.models.hardware import Hardware
from contraband.quick.fitting import HeadKind, fit
from contraband.samples.points import Points, write_points
from contraband.training.loop import batches
from contraband.volumes.settings import VolumeSettings
from tests.benchmarks.report import Row
from tests.support.labelled import drawn, labelled_image
from tests.support.volumes import store_volume

NAME = "labelling"
SCREENS = {(1, 512, 512): 500, (128, 256, 256): 2000}
"""What is looked at, and the milliseconds in which it should be there again."""
VOLUMES = ((1, 512, 512), (48, 128, 128))
"""What is trained on, in 2D and 3D."""
STEPS = 12
FIRST = 3
"""Steps that count, and those before."""
TIMES = 5
POINTS = 20
"""Of each class."""


def measure(folder: Path, quick: bool) -> list[Row]:
    """Milliseconds, the best of a few times; of steps, CPU time."""
    rows = fits()
    for shape, goal in SCREENS.items():
        if not quick or shape[0] == 1:
            rows += screens(shape, goal)
    for shape in VOLUMES if not quick else VOLUMES[:1]:
        rows += joint_steps(folder / NAME, shape)
    return rows


def fits() -> list[Row]:
    """Either head on a thousand points of a hundred features."""
    random = np.random.default_rng(0)
    classes = np.arange(1000) % 3
    features = (random.standard_normal((1000, 100)) * 3 + random.standard_normal((3, 100))[classes]).astype(np.float32)
    goals: dict[HeadKind, str] = {"logistic": "<= 100", "forest": ""}
    return [
        Row(
            f"fit of a {kind} head, 1,000 points of 100 features",
            found[0],
            "ms",
            goal,
            note=f"{found[1]:.0f} ms CPU",
        )
        for kind, goal in goals.items()
        for found in (best(partial(fit, kind, features, classes)),)
    ]


def screens(shape: tuple[int, int, int], goal: int) -> list[Row]:
    """A click, until prediction and segments of the screen are there; and the same after a move to where nothing is."""
    raw, classes, _ = labelled_image(shape, spacing=12 if shape[0] > 1 else 10)
    what = "x".join(map(str, shape))
    box = Roi((0, 0, 0), shape)
    rows = []
    kinds: tuple[HeadKind, ...] = ("forest", "logistic") if shape[0] == 1 else ("logistic",)
    for kind in kinds:
        session = LabelSession(raw, VolumeSettings(output=Path("none.zarr")), LabelSettings(head=kind))
        begin = time.perf_counter()
        session.warm(box)
        features = (time.perf_counter() - begin) * 1000
        voxels, labels = drawn(classes, POINTS)
        for voxel, label in zip(voxels[1:], labels[1:], strict=True):
            session.click(voxel, label)
        look(session, box)
        spans = []
        cpu = []
        for _ in range(TIMES):
            session.click(voxels[0], labels[0])
            begun = time.process_time()
            spans.append(look(session, box))
            cpu.append((time.process_time() - begun) * 1000)
            session.undo()
        fitted, predicted, segmented = np.array(spans)[np.argmin(np.sum(spans, axis=1))]
        note = f"fit {fitted:.0f}, prediction {predicted:.0f}, segments {segmented:.0f} ms, "
        note += f"{min(cpu):.0f} ms CPU; {2 * POINTS} points"
        rows.append(
            Row(f"click to segments of {what}, {kind}", fitted + predicted + segmented, "ms", f"<= {goal}", note=note)
        )
        rows.append(Row(f"features of {what}, once", features, "ms", note="before the first click, or after a move"))
    return rows


def joint_steps(folder: Path, shape: tuple[int, int, int]) -> list[Row]:
    """Steps of the default training with denoising, against plain ones of as many samples, all of them labelled."""
    dims = 2 if shape[0] == 1 else 3
    raw, classes, _ = labelled_image(shape)
    path = folder / f"{dims}d.zarr" / "raw"
    store_volume(path, raw)
    voxels, labels = drawn(classes, POINTS)
    write_points(Points(voxels, labels), folder / "points.csv")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        spans = {}
        for name, joint in (("plain", False), ("joint", True)):
            spans[name] = step_times(path, folder / "points.csv", shape, joint)
    finally:
        torch.set_num_threads(threads)
    joint_ms, plain_ms = (float(np.median(spans[name])) * 1000 for name in ("joint", "plain"))
    note = f"{joint_ms:.0f} and {plain_ms:.0f} ms CPU, medians of {STEPS} steps; as many samples, half unlabelled"
    return [Row(f"joint step against plain, {dims}D", joint_ms / plain_ms, "times", "<= 1.4", note=note)]


def step_times(raw: Path, points: Path, shape: tuple[int, int, int], joint: bool) -> list[float]:
    """CPU seconds of steps, loading included; the first ones do not count."""
    dims = 2 if shape[0] == 1 else 3
    plain = default_params(dims, shape, None)
    seg = {key: value for key, value in plain["seg"].items() if joint or key != "joint"}
    seg["num_iterations"] = [STEPS + FIRST]
    if not joint:
        seg["batch_size"] = [2 * plain["seg"]["batch_size"][0]]
    told = for_session({"model": plain["model"], "seg": seg}, raw, points, 0)
    params = parse_params(told, "benchmark")
    settings = params.seg[0]
    hardware = Hardware(torch.device("cpu"), bfloat16=False)
    task = seg_task(params, params.model[0], settings, False, None, None)
    task.network.train()
    optimizer = torch.optim.AdamW(task.network.parameters(), lr=1e-3)
    spans = []
    begin = time.process_time()
    for batch in batches(task, settings, 0, hardware):
        optimizer.zero_grad(set_to_none=True)
        task.loss(batch).backward()
        optimizer.step()
        end = time.process_time()
        spans.append(end - begin)
        begin = end
    return spans[FIRST:]


def look(session: LabelSession, box: Roi) -> tuple[float, float, float]:
    """Milliseconds of the fit, the prediction and the segments, which follow each other on the page."""
    begin = time.perf_counter()
    session.head()
    fitted = time.perf_counter()
    session.predict(box)
    predicted = time.perf_counter()
    session.segment(box)
    end = time.perf_counter()
    return (fitted - begin) * 1000, (predicted - fitted) * 1000, (end - predicted) * 1000


def best(work: Callable[[], object]) -> tuple[float, float]:
    """Milliseconds of the quickest of a few times, after one that counts for nothing: by the clock, and of CPU time."""
    spans = []
    for _ in range(TIMES + 1):
        begin = (time.perf_counter(), time.process_time())
        work()
        spans.append((time.perf_counter() - begin[0], time.process_time() - begin[1]))
    clock, cpu = zip(*spans[1:], strict=True)
    return min(clock) * 1000, min(cpu) * 1000
