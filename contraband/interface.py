"""What `import contraband` offers, and what the commands call: settings, runs, results, training, prediction, import.

Each function loads what it needs when it is called. Errors on purpose are `BadInput` (what was given cannot work;
nothing was written) and `WorkFailed` (the work failed; what is finished is kept), one line each.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from contraband.progress import shown

if TYPE_CHECKING:
    import numpy as np

    from blockwise.arrays.info import Info
    from blockwise.engine.options import Progress
    from contraband.volumes.plan.planned import PlannedRun
    from contraband.volumes.result import Result
    from contraband.volumes.settings import VolumeSettings

TrainingMode = Literal["contrastive", "seg", "emb", "val"]


def load_settings(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> VolumeSettings:
    """The settings of a volume from a YAML file, or from the same keys in a dictionary, whose values may be objects.

    overrides: further keys as `key=value`, as after `--set`; the value is YAML. Paths in the settings are relative to
    the working folder; lengths are in voxels unless their name carries a unit. Loaded settings never change: a variant
    is `settings.model_copy(update={...})`, or the same file with other overrides. Raises BadInput, which names the key.

    Example:
        settings = contraband.load_settings("vol.yaml", ["cluster.workers=4", "segment.thresholds=[0.4, 0.5]"])
        settings = contraband.load_settings({"affinities": "vol.zarr/affs", "output": "out/vol.zarr"})
    """
    from contraband.volumes.settings import load_volume_settings, volume_settings

    if isinstance(source, Mapping):
        return volume_settings(_plain(source), "settings", overrides)
    return load_volume_settings(Path(source), overrides)


def run(
    settings: VolumeSettings,
    first: str | None = None,
    last: str | None = None,
    *,
    redo: str | None = None,
    redo_failed: bool = False,
    grown: bool = False,
    progress: bool | Progress = True,
) -> list[dict[str, Any]]:
    """Run a volume from raw or affinities to scores; what is finished is skipped, so an interrupted run goes on.

    first, last: stages between which to run, by their words: embed, predict, fragments, edges, agglomerate, segment,
    evaluate. redo: this stage and all that depend on it are made again. redo_failed: blocks that were given up are
    tried again. grown: your word that a volume that grew has its old voxels still. progress: True shows it, on a
    terminal or below the cell of a notebook; False does not; a function is called with (stage, blocks done, blocks in
    all, note).

    Returns a row for each stage: `stage`, `blocks_done`, `blocks_skipped`, `blocks_failed`, `voxels`, `wall_seconds`,
    `cpu_seconds`, `peak_rss_bytes`, ... Raises BadInput before anything is written, Stale (a BadInput) if finished
    blocks were made with other settings, WorkFailed, and KeyboardInterrupt; after these the same call goes on.

    Blocks run on worker processes of this machine unless `cluster` says otherwise; no `if __name__ == "__main__"` is
    needed for them. With `cluster: {kind: none}` they run in this process.

    Example:
        settings = contraband.load_settings("vol.yaml")
        rows = contraband.run(settings, last="agglomerate")
    """
    from blockwise.engine.options import RunOptions
    from contraband.volumes.line import select, stages
    from contraband.volumes.report import as_rows, by_stage
    from contraband.volumes.run import execute

    everything = stages(settings)
    line = select(everything, first, last)
    before = everything[: everything.index(line[0])]
    with shown(progress, "blocks") as display:
        options = RunOptions(redo, redo_failed, grown, progress=display.update, announce=display.say)
        results = execute(settings, line, options, before)
    return as_rows(by_stage(results))


def plan(settings: VolumeSettings) -> PlannedRun:
    """What a run would do: blocks, context, bytes, files of each stage. Reads metadata only, writes nothing.

    The plan's `stages` are rows; its `probe()` processes a few blocks and tells time and memory of the whole run.
    Raises BadInput for all that a run would refuse before it begins.

    Example:
        plan = contraband.plan(settings)
        print(sum(row["bytes_written_raw"] for row in plan.stages), plan.probe().wall_seconds)
    """
    from contraband.volumes.plan.planned import planned

    return planned(settings)


def status(settings: VolumeSettings) -> list[dict[str, Any]]:
    """How far each stage is, as the store knows it; a run may be going on meanwhile, anywhere.

    Returns a row for each stage: `stage`, `blocks` in all, `done`, `failed`, `stale`, `state` (done, failed, stale,
    gone or how much is done), `voxels`, `block_seconds`, `peak_rss_bytes` of what is done, `changes` that made it
    stale, paths that are `gone`, and `failures`, a list with `block`, `place`, `attempts` and `error` of each. Raises
    BadInput if settings or store cannot be read.

    Example:
        for row in contraband.status(settings):
            print(row["stage"], row["done"], "of", row["blocks"])
    """
    from contraband.volumes.line import stages
    from contraband.volumes.monitor.facts import Facts

    return Facts(settings, stages(settings)).stages()


def evaluate(settings: VolumeSettings, progress: bool | Progress = True) -> dict[str, Any]:
    """Score every threshold of a volume against its labels or skeletons; what is missing of the run is made first.

    Returns what evaluation.json holds: `thresholds`, a row of scores for each (VOI in bits, adapted Rand as an error,
    objects found), `best`, the row with the smallest VOI sum, `best_possible` for these fragments, and
    `false_merges`. progress: as in `run`. Raises BadInput without labels and skeletons, and what `run` raises.

    Example:
        best = contraband.evaluate(settings)["best"]
        print(best["threshold"], best["voi_sum"])
    """
    from blockwise.errors import BadInput
    from contraband.volumes.offered import run_missing

    if not (settings.volume.labels or settings.volume.skeletons):
        wanted = "volume.labels or volume.skeletons"
        raise BadInput("settings", "nothing to evaluate against", got=None, wanted=wanted)
    run_missing(settings, None, progress)
    return open_result(settings).evaluation


def open_result(source: VolumeSettings | str | Path, store: str | None = None) -> Result:
    """What a run has made, as arrays and tables.

    source: the run's settings, or the path of its output, `....zarr`. store: with a path, the URL of its store; left
    out: SQLite beside the output. The result has `fragments`, `segments(threshold)` at any threshold and
    `stored(name)` as lazy volumes, `region_graph` and `dendrogram` as numpy arrays, `scores` and `report` as rows.
    Raises BadInput if output or store is missing, or they do not belong together.

    Example:
        result = contraband.open_result("out/vol.zarr")
        print(result.segments(0.35)[10, :50, :50])
    """
    from contraband.volumes.result import Result, open_output

    if isinstance(source, str | Path):
        return open_output(Path(source), store)
    return Result(source)


def export(
    settings: VolumeSettings,
    target: str | Path,
    *,
    thresholds: Sequence[float] = (),
    raw: bool = True,
    compact: bool = False,
    ome_version: Literal["0.4", "0.5"] = "0.5",
    progress: bool | Progress = True,
) -> Path:
    """Write segments, and raw, for other programs; what is missing of the run is made first.

    target: a new `....zarr` becomes an OME-Zarr image with pyramids, segments under `labels/`; a new `....tif` the
    segments as one image; a new `....precomputed` a volume of Neuroglancer with meshes; a new folder, a name without an
    ending, a TIFF for each image where raw was a folder of images. thresholds: left out: those of the settings. raw:
    whether it is written too. compact: segments are called 1 to n, in the smallest type; in TIFF they always are.
    progress: as in `run`.

    Returns the target, which is there once it is whole; an export that was interrupted goes on. Raises BadInput for
    what cannot be exported, and what `run` raises.

    Example:
        contraband.export(settings, "out/vol.ome.zarr", thresholds=[0.4, 0.5])
        contraband.export(settings, "out/cells.tif", thresholds=[0.4])
    """
    from blockwise.engine.options import RunOptions
    from contraband.volumes.export.export import ExportOptions, check_export, kind_of
    from contraband.volumes.export.export import export as write
    from contraband.volumes.offered import run_missing
    from contraband.volumes.settings import with_thresholds

    place = Path(target)
    settings = with_thresholds(settings, tuple(thresholds) or settings.segment.thresholds)
    wanted = ExportOptions(kind_of(place), settings.segment.thresholds, raw, compact, ome_version)
    check_export(settings, place, wanted)
    run_missing(settings, "segment", progress)
    with shown(progress, "blocks") as display:
        write(settings, place, wanted, RunOptions(progress=display.update, announce=display.say))
    return place


def train(
    experiment: str | Path,
    mode: TrainingMode = "contrastive",
    *,
    index: int = 0,
    checkpoints: Sequence[int] = (),
    progress: bool | Progress = True,
) -> list[Path]:
    """Train a network of an experiment, or run one of the modes that follow; an interrupted training goes on.

    experiment: its folder, `experiments/<dataset>/EXP<n>-...`, which holds `param_dict.json`. mode: "contrastive"
    trains the encoder of combination `index`; "seg" trains all heads on it, at the given contrastive `checkpoints` or
    at all (heads that are baselines need none); "emb" writes embeddings; "val" predicts, segments and scores the
    validation set. progress: as in `run`; training counts steps.

    Returns what was made: the newest checkpoint of each training, or containers of embeddings, or CSV files of scores.
    Raises BadInput for parameters that cannot work, WorkFailed if the training diverges or its data cannot be read.

    Example:
        encoder = contraband.train("experiments/dsb/EXP1-nuclei-11-20-2026")
        heads = contraband.train("experiments/dsb/EXP1-nuclei-11-20-2026", "seg", checkpoints=[5000])
    """
    from contraband.experiments.modes import run_mode

    with shown(progress, "steps" if mode in ("contrastive", "seg") else "blocks") as display:
        return run_mode(Path(experiment), mode, index, checkpoints, display)


def predict(
    raw: np.ndarray,
    checkpoint: str | Path,
    *,
    output: Literal["affinities", "embeddings"] = "affinities",
    device: str = "auto",
    precision: str = "auto",
    progress: bool | Progress = True,
) -> np.ndarray:
    """What a network sees in an image in memory: the numbers that a run would store.

    raw: (z, y, x) whole numbers or floats in the range that the network was trained on; a 2D image is `image[None]`.
    checkpoint: a file, or a folder of which the newest is taken. device: auto, cpu or cuda. precision: auto, float32
    or bfloat16. progress: as in `run`; counts tiles.

    Returns (channel, z, y, x): affinities uint8, 255 for 1, one channel for each offset and a last one if the network
    predicts foreground; or embeddings float16. Everything is held in memory; for larger volumes use `run` with
    `last="predict"`. Raises BadInput for other shapes and types, and a checkpoint that does not fit.

    Example:
        affinities = contraband.predict(image[None], "experiments/dsb/.../checkpoints")
        boundaries = 255 - affinities.min(0)
    """
    from contraband.models.predictor import load_predictor
    from contraband.volumes.tiles import predict_array

    predictor = load_predictor(Path(checkpoint), output, device=device, precision=precision)
    with shown(progress, "tiles", goes_on=False) as display:
        return predict_array(predictor, raw, lambda done, total: display.update("predict", done, total))


def import_file(source: str | Path, target: str | Path, *, progress: bool | Progress = True, **options: Any) -> Info:
    """Turn a file of another program into a volume: zarr v3 with voxel size, offset, units and axes; all or nothing.

    source: .npz, .npy, TIFF, PNG, JPEG, a folder of these, HDF5, zarr or N5; it is never in memory as a whole.
    target: as in `data/vol.zarr/raw`, which must not be there yet. options: what the file does not say of itself, with
    the words of `contraband import --help`, such as `name="volumes/raw"`, `axes="xyz"`, `voxel_size=(10, 10, 10)`,
    `units="nm"`, `crop="z=0:125"`, `channel=(0,)`, `labels=True`. progress: as in `run`; counts voxels.

    Returns the description of the volume: `shape`, `dtype`, `voxel_size`, `offset`, `units`, `offsets` of affinities;
    `attributes["source"]["said"]` tells where each comes from.
    Raises BadInput for files that cannot be read, and options that do not fit.

    Example:
        raw = contraband.import_file("scan.h5", "data/vol.zarr/raw", name="raw", voxel_size=(10, 10, 10))
        print(raw.shape, raw.dtype)
    """
    from contraband.importing.volume import import_volume

    with shown(progress, "voxels", goes_on=False) as display:

        def tell(done: int, total: int) -> None:
            display.update("import", done, total)

        return import_volume(source, target, progress=tell, say=display.say, **options)


def _plain(value: Any) -> Any:
    """Paths and settings within a dictionary as a YAML file has them."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value
