"""Commands that work on an experiment: points, train, embed, validate, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blockwise.errors import BadInput
from contraband import interface
from contraband.commands.screen import AsJson, console, emit, place
from contraband.progress import meter, say

if TYPE_CHECKING:
    from blockwise.arrays.volume import Volume
    from contraband.experiments.folders import Experiment
    from contraband.experiments.params import Params

Dataset = Annotated[str, typer.Option("--dataset", "-dataset", help="Folder under experiments/.")]
ExperimentNumber = Annotated[int, typer.Option("--exp", "-exp", help="The n of EXPn-....")]
Index = Annotated[int, typer.Option("--index", "-index", help="Combination of contrastive and model settings.")]
Checkpoints = Annotated[
    list[int] | None,
    typer.Option(
        "--checkpoints", "-checkpoints", help="Contrastive checkpoint; may be repeated; if none is given, all."
    ),
]
MODES: tuple[interface.TrainingMode, ...] = ("contrastive", "seg", "emb", "val")


def train(
    dataset: Dataset,
    exp: ExperimentNumber,
    mode: Annotated[str, typer.Option("--mode", "-mode", help=f"One of {', '.join(MODES)}.")] = "contrastive",
    index: Index = 0,
    checkpoints: Checkpoints = None,
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help="Run everything that the experiment still lacks: encoders, embeddings, heads, scores."
        ),
    ] = False,
    cluster: Annotated[
        Path | None,
        typer.Option(help="With --all: train on the Dask workers of a YAML file's section `cluster`.", callback=place),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train an encoder (contrastive) or heads (seg), or run the modes emb and val; go on where a training was stopped.

    Example: contraband train --dataset dsb --exp 1 --mode seg --index 0
    """
    if everything:
        _everything(dataset, exp, checkpoints or [], cluster, as_json)
        return
    if cluster is not None:
        raise BadInput("--cluster", "works only together with --all", todo="add --all")
    chosen = next((known for known in MODES if known == mode), None)
    if chosen is None:
        raise BadInput("--mode", "no such mode", got=mode, wanted=", ".join(MODES))
    _run_mode(chosen, dataset, exp, index, checkpoints or [], as_json)


def _run_mode(
    mode: interface.TrainingMode, dataset: str, exp: int, index: int, checkpoints: list[int], as_json: bool
) -> None:
    from contraband.experiments.folders import find_experiment

    experiment = find_experiment(dataset, exp)
    made = interface.train(experiment.path, mode, index=index, checkpoints=checkpoints)
    trained = mode in ("contrastive", "seg")
    for path in made:
        typer.echo(f"checkpoint: {path}" if trained else str(path))
    told = _choices(made) if mode == "seg" else {}
    emit(as_json, {"checkpoints" if trained else "files": [str(path) for path in made]} | told)


def _choices(checkpoints: list[Path]) -> dict[str, Any]:
    """Print at which step each training stopped by its labels; the same as plain data, empty if none did."""
    from contraband.experiments.folds import read_choice
    from contraband.models.folder import RunFolder

    found = {str(path): read_choice(RunFolder(path.parents[1])) for path in checkpoints}
    chosen = {path: choice for path, choice in found.items() if choice is not None}
    for path, choice in chosen.items():
        typer.echo(f"{path} {choice.in_words()}")
    return {"folds": {path: choice.as_dict() for path, choice in chosen.items()}} if chosen else {}


def _everything(dataset: str, exp: int, checkpoints: list[int], cluster: Path | None, as_json: bool) -> None:
    from blockwise.cluster.settings import Cluster
    from blockwise.engine.options import RunOptions
    from blockwise.settings import read_yaml
    from contraband.experiments.grid import write_best_metrics
    from contraband.experiments.train_all import Everything

    params, experiment = _opened(dataset, exp)
    workers = None if cluster is None else Cluster.parse(read_yaml(cluster).get("cluster", {}), f"{cluster}: cluster")
    with meter("steps") as display:
        options = RunOptions(progress=display.update, announce=say)
        whole = Everything(params, experiment, checkpoints, workers, display.update, options)
        try:
            trained = whole.run()
        finally:
            best = write_best_metrics(params, experiment)
    typer.echo(f"{len(trained)} trainings run; best scores: {best or 'none yet'}")
    emit(as_json, {"trained": [training.name for training in trained], "best_metrics": best and str(best)})


def embed(
    dataset: Dataset, exp: ExperimentNumber, index: Index = 0, checkpoints: Checkpoints = None, as_json: AsJson = False
) -> None:
    """Write the embeddings of the experiment's data sets blockwise (train --mode emb).

    Example: contraband embed --dataset dsb --exp 1 --checkpoints 5000
    """
    _run_mode("emb", dataset, exp, index, checkpoints or [], as_json)


def validate(
    dataset: Dataset, exp: ExperimentNumber, index: Index = 0, checkpoints: Checkpoints = None, as_json: AsJson = False
) -> None:
    """Predict, segment and score the validation set with every trained head (train --mode val).

    Example: contraband validate --dataset dsb --exp 1
    """
    _run_mode("val", dataset, exp, index, checkpoints or [], as_json)


def points(
    labels: Annotated[Path, typer.Argument(help="Label volume, as in data/vol.zarr/train/labels.", callback=place)],
    target: Annotated[Path, typer.Argument(help="CSV file to write.", callback=place)],
    count: Annotated[
        int, typer.Option(help="Points of each kind: this many foreground and this many background.")
    ] = 16,
    seed: Annotated[int, typer.Option(help="The same seed draws the same points.", min=0)] = 0,
    as_json: AsJson = False,
) -> None:
    """Draw labelled points from a label volume: k foreground and k background voxels.

    A file with other points, which somebody may have labelled by hand, is not replaced.

    Example: contraband points data/dsb.zarr/train/labels points.csv --count 16
    """
    from funlib.geometry import Roi

    from blockwise.arrays.volume import Volume, info, read
    from contraband.samples.points import as_csv, generate_points, write_points

    volume = Volume(path=labels)
    _check_points(volume, target, count)
    drawn = generate_points(read(volume, Roi((0, 0, 0), info(volume).spatial)), count, seed, labels)
    if target.exists() and target.read_bytes() != as_csv(drawn).encode():
        raise BadInput(target, "exists already, with other points", todo="remove it, or choose another target")
    write_points(drawn, target)
    typer.echo(f"{target}: {len(drawn)} points")
    emit(as_json, {"points": len(drawn), "file": str(target)})


def _check_points(volume: Volume, target: Path, count: int) -> None:
    """Raise BadInput unless points can be drawn from the volume and written."""
    from blockwise.arrays.volume import info
    from blockwise.files.whole import check_folder

    if count < 1:
        raise BadInput("--count", "no points", got=count, wanted="at least 1")
    check_folder(target, "points")
    if target.is_dir():
        raise BadInput(target, "is a folder", wanted="a CSV file")
    found = info(volume)
    if found.channels is not None or found.dtype.kind not in "bui":
        got = f"{found.shape} {found.dtype}"
        raise BadInput(volume.path, "labels must be whole numbers without a channel axis", got=got)


def report(
    what: Annotated[
        Path | None,
        typer.Argument(help="Volume settings, or the folder of an experiment.", metavar="[PATH]", callback=place),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Instead of PATH: the folder under experiments/.")
    ] = None,
    exp: Annotated[int | None, typer.Option("--exp", help="And the n of its EXPn-....")] = None,
    as_json: AsJson = False,
) -> None:
    """Print the report of a volume, or the table of an experiment's grid with states and scores.

    For an experiment the best scores of all that was validated are also written to its best_metrics.csv.

    Example: contraband report --dataset dsb --exp 1
    """
    if what is not None and not what.is_dir():
        _volume_report(what, as_json)
        return
    from contraband.experiments.folders import Experiment
    from contraband.experiments.params import load_params

    if what is not None:
        experiment = Experiment(what)
        _grid_report(load_params(experiment.param_dict), experiment, as_json)
    elif dataset is not None and exp is not None:
        _grid_report(*_opened(dataset, exp), as_json)
    else:
        raise BadInput("report", "nothing to report on", wanted="VOLUME.yaml, an experiment, or --dataset and --exp")


def _grid_report(params: Params, experiment: Experiment, as_json: bool) -> None:
    from contraband.experiments.grid import grid_rows, print_grid, write_best_metrics

    rows = grid_rows(params, experiment)
    print_grid(console(), rows)
    best = write_best_metrics(params, experiment)
    if best is not None:
        typer.echo(f"best scores: {best}")
    emit(as_json, {"grid": rows, "best_metrics": best and str(best)})


def _volume_report(settings_file: Path, as_json: bool) -> None:
    from contraband.volumes.output import Output
    from contraband.volumes.report import (
        as_rows,
        nearest_rows,
        print_scores,
        print_stages,
        read_json,
        remarks_on_scores,
    )

    settings = interface.load_settings(settings_file)
    data: dict[str, Any] = read_json(Output(settings.output).report)
    print_stages(console(), as_rows(data["stages"]))
    if Output(settings.output).evaluation.exists():
        evaluation = read_json(Output(settings.output).evaluation)
        print_scores(console(), nearest_rows(evaluation, settings.segment.thresholds))
        for hint in remarks_on_scores(evaluation, settings.agglomerate.stop, settings.volume.labels):
            say(hint)
        data["evaluation"] = evaluation["best"]
    emit(as_json, data)


def _opened(dataset: str, exp: int, index: int = 0) -> tuple[Params, Experiment]:
    """The parameters and the place of an experiment that has a combination of that index."""
    from contraband.experiments.folders import find_experiment
    from contraband.experiments.params import load_params

    experiment = find_experiment(dataset, exp)
    params = load_params(experiment.param_dict)
    params.combination(index)
    return params, experiment
