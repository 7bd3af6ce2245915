"""Commands that work on a volume: run and its stages, plan, audit."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blockwise.errors import BadInput, OutOfReach
from contraband import interface
from contraband.commands.screen import AsJson, Assignments, SettingsFile, console, emit, place
from contraband.progress import say

if TYPE_CHECKING:
    from blockwise.engine.options import RunOptions
    from contraband.volumes.settings import VolumeSettings

Redo = Annotated[str | None, typer.Option("--redo", metavar="STAGE", help="Redo this stage and everything after it.")]
Grown = Annotated[
    bool, typer.Option("--grown", help="Take my word that the old voxels of a grown volume have not changed.")
]
RedoFailed = Annotated[bool, typer.Option("--redo-failed", help="Try blocks again that were given up.")]


def run(
    settings_file: SettingsFile,
    first: Annotated[str | None, typer.Option("--from", metavar="STAGE", help="First stage to run.")] = None,
    last: Annotated[str | None, typer.Option("--to", metavar="STAGE", help="Last stage to run.")] = None,
    redo: Redo = None,
    redo_failed: RedoFailed = False,
    grown: Grown = False,
    assignments: Assignments = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would run (and a job script).")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a volume from raw or affinities to scores; what is finished is skipped.

    Example: contraband run configs/gala.yaml --set cluster.workers=4
    """
    settings = interface.load_settings(settings_file, assignments or ())
    if dry_run:
        from blockwise.engine.options import RunOptions

        options = RunOptions(redo=redo, redo_failed=redo_failed, grown=grown)
        _print_what_would_run(settings, first, last, options)
        return
    rows = interface.run(settings, first, last, redo=redo, redo_failed=redo_failed, grown=grown)
    _print_run(settings, rows, as_json)


def predict_blockwise(
    settings_file: SettingsFile,
    redo: Redo = None,
    grown: Grown = False,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Predict affinities or embeddings of a volume blockwise, and stop there.

    Example: contraband predict-blockwise configs/fib25-test.yaml
    """
    settings = interface.load_settings(settings_file, assignments or ())
    if settings.model is None:
        raise BadInput(settings_file, "predicts nothing", got="affinities", wanted="model.checkpoint")
    last = "predict" if settings.model.stored == "affinities" else "embed"
    _print_run(settings, interface.run(settings, last=last, redo=redo, grown=grown), as_json)


def segment(
    settings_file: SettingsFile,
    threshold: Annotated[list[float] | None, typer.Option(help="Threshold from 0 to 1; may be repeated.")] = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Write segments at further thresholds; a finished run is only relabelled.

    Example: contraband segment configs/gala.yaml --threshold 0.4
    """
    extra = [f"segment.thresholds={sorted(threshold)}"] if threshold else []
    settings = interface.load_settings(settings_file, [*(assignments or ()), *extra])
    _print_run(settings, interface.run(settings, last="segment"), as_json)


def evaluate(
    settings_file: SettingsFile,
    hausdorff: Annotated[
        bool,
        typer.Option("--hausdorff", help="Also how far each object found lies from its true one; reads all again."),
    ] = False,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Score every threshold of a run against its labels or skeletons.

    Example: contraband evaluate configs/gala.yaml
    """
    from contraband.volumes.hausdorff import check_truth, hausdorff_distances

    settings = interface.load_settings(settings_file, assignments or ())
    if hausdorff:
        check_truth(settings)
    evaluation = interface.evaluate(settings)
    if hausdorff:
        best = evaluation["best"]["threshold"]
        evaluation["hausdorff"] = [asdict(one) for one in hausdorff_distances(settings, best)]
    _print_run(settings, interface.open_result(settings).report, False, with_scores=False)
    from contraband.volumes.report import (
        print_distances,
        print_false_merges,
        print_objects,
        print_scores,
        remarks_on_scores,
        rows_to_print,
    )

    console().print()
    print_scores(console(), rows_to_print(evaluation, settings.segment.thresholds))
    for hint in remarks_on_scores(evaluation, settings.agglomerate.stop, settings.volume.labels):
        say(hint)
    print_objects(console(), evaluation.get("objects", []))  # not in what earlier versions have written
    print_false_merges(console(), evaluation["false_merges"])
    print_distances(console(), evaluation.get("hausdorff", []))
    emit(as_json, evaluation)


def correct(
    settings_file: SettingsFile,
    join: Annotated[list[str] | None, typer.Option(metavar="A,B", help="Must be one object; may be repeated.")] = None,
    split: Annotated[list[str] | None, typer.Option(metavar="A,B", help="Must not be one; may be repeated.")] = None,
    file: Annotated[Path | None, typer.Option(help="A CSV file of such pairs.", callback=place)] = None,
    undo: Annotated[int, typer.Option(metavar="N", help="Take the latest N back first.")] = 0,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Join and split objects: by two numbers, A,B, or by two voxels, z,y,x,z,y,x; only what changes is written again.

    Example: contraband correct configs/gala.yaml --split 1207,88 --join 3,40,60,3,44,61
    """
    from contraband.volumes.offered import correct as apply

    settings = interface.load_settings(settings_file, assignments or ())
    made = apply(settings, join or (), split or (), file=file, undo=undo)
    typer.echo(f"{made['corrections']} corrections; {made['blocks_written']} blocks of segments were written")
    emit(as_json, made)


def plan(
    settings_file: SettingsFile,
    with_probe: Annotated[
        bool,
        typer.Option(
            "--probe/--no-probe",
            help="Process a few blocks, in a folder that is deleted afterwards, to see what they cost.",
        ),
    ] = True,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Show what a run would do before anything runs: blocks, context, bytes, files; time and memory from a few blocks.

    Example: contraband plan configs/gala.yaml
    """
    planned = interface.plan(interface.load_settings(settings_file, assignments or ()))
    from contraband.volumes.plan.estimate import print_forecast, print_outlook
    from contraband.volumes.plan.forecast import totals

    print_outlook(console(), planned.stages)
    for note in planned.notes:
        say(note)
    data: dict[str, Any] = {"stages": planned.stages, "notes": planned.notes}
    if with_probe:
        say("processing a few blocks to see what they cost (--no-probe leaves that out)")
        forecast = planned.probe()
        print_forecast(console(), forecast)
        data["predicted"] = {"total": totals(forecast), "stages": [asdict(stage) for stage in forecast.stages]}
    emit(as_json, data)


def audit(
    settings_file: SettingsFile,
    samples: Annotated[int, typer.Option(help="Places to look at, at least 1.")] = 64,
    predicted: Annotated[
        int, typer.Option(help="At how many of them to compute the prediction too, the costly part.")
    ] = 4,
    seed: Annotated[int, typer.Option(help="The same seed looks at the same places.")] = 0,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Take sampled places where blocks meet, compute each again in one piece, and compare with what is stored.

    Example: contraband audit configs/gala.yaml --samples 200
    """
    from contraband.volumes.audit.auditor import audit as compare
    from contraband.volumes.audit.findings import plain, print_findings, verdict
    from contraband.volumes.line import stages

    for flag, value, least in (("--samples", samples, 1), ("--predicted", predicted, 0)):
        if value < least:
            raise BadInput(flag, "is too small", got=value, wanted=f"at least {least}")
    settings = interface.load_settings(settings_file, assignments or ())
    places, findings = compare(settings, stages(settings), samples, predicted, seed)
    print_findings(console(), places, findings)
    emit(as_json, plain(places, findings))
    verdict(findings)


def _print_run(settings: VolumeSettings, rows: list[dict[str, Any]], as_json: bool, with_scores: bool = True) -> None:
    """What a run did for its stages, and the scores if it came to them; as JSON, with those of earlier runs."""
    from contraband.volumes.output import Output
    from contraband.volumes.report import (
        nearest_rows,
        print_scores,
        print_stages,
        read_json,
        remark_on_nothing,
        remarks_on_scores,
    )

    screen = console()
    print_stages(screen, rows)
    data: dict[str, Any] = read_json(Output(settings.output).report)
    nothing = remark_on_nothing(Output(settings.output).dendrogram.path)
    if nothing:
        say(nothing)
    if rows[-1]["stage"] == "evaluate" and with_scores:
        evaluation = read_json(Output(settings.output).evaluation)
        screen.print()
        print_scores(screen, nearest_rows(evaluation, settings.segment.thresholds))
        for hint in remarks_on_scores(evaluation, settings.agglomerate.stop, settings.volume.labels):
            say(hint)
        data["evaluation"] = evaluation["best"]
    emit(as_json, {"output": str(settings.output), **data})


def _print_what_would_run(settings: VolumeSettings, first: str | None, last: str | None, options: RunOptions) -> None:
    """Blocks, bytes and a job script; refuses what a run would refuse, down to what needs a worker."""
    from blockwise.cluster.open import job_script
    from blockwise.cluster.settings import BATCH_SYSTEMS
    from contraband.volumes.line import absolute, select, stages
    from contraband.volumes.plan.estimate import outlook, print_outlook
    from contraband.volumes.run import examined

    everything = stages(settings)
    line = select(everything, first, last)
    before = everything[: everything.index(line[0])]
    by_jobs = settings.cluster.kind in BATCH_SYSTEMS
    ahead = replace(options, before=[absolute(stage) for stage in before])
    try:
        with examined(settings, line, ahead):
            pass
    except OutOfReach as error:
        if not by_jobs:
            raise
        say(f"{error}; a run from here would be refused")  # scripts are also looked at where jobs are not started
    if by_jobs:
        typer.echo(job_script(settings.cluster))
    print_outlook(console(), outlook(line))
