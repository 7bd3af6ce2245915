"""The command that runs a study of arms, and reads its test data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from blockwise.errors import BadInput
from contraband.commands.screen import AsJson, emit, place
from contraband.progress import meter


def study(
    settings_file: Annotated[
        Path, typer.Argument(help="Settings of the study, a YAML file.", metavar="STUDY.yaml", callback=place)
    ],
    test: Annotated[bool, typer.Option("--test", help="Score on the test data, which is done once.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Read them once more; the report says so.")] = False,
    incomplete: Annotated[
        bool, typer.Option("--incomplete", help="Read them while rows are missing; the report says so.")
    ] = False,
    report: Annotated[bool, typer.Option("--report", help="Write the report of the rows there are; run none.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run what a study of arms, draws and seeds still lacks, and write its report; with --test decide its claims.

    Example: contraband study experiments/few-labels/dsb.yaml
    """
    if (again or incomplete) and not test:
        raise BadInput("--again" if again else "--incomplete", "works only together with --test", todo="add --test")
    if test and report:
        raise BadInput("--report", "runs nothing, and --test does", todo="leave out one of them")
    from contraband.experiments.study.reading import check_rows, read_test
    from contraband.experiments.study.report import NAME, write_report
    from contraband.experiments.study.run import check, run_rows
    from contraband.experiments.study.settings import load_study
    from contraband.experiments.study.study import Study

    opened = Study(load_study(settings_file))
    check(opened)
    if report:
        check_rows(opened, "--report")
    done = 0
    with meter("rows") as display:
        if not report:
            tell = display.update
            done = read_test(opened, again, incomplete, tell) if test else run_rows(opened, tell)
    decided = write_report(opened)
    page = opened.settings.report / NAME
    for one in decided:
        typer.echo(f"{one.claim.arm} above {one.claim.above} on {one.claim.on} at {one.k}: {one.verdict}")
    typer.echo(f"{done} rows {'tested' if test else 'run'}; report: {page}")
    verdicts = [{**one.claim.model_dump(mode="json"), "k": one.k, "verdict": one.verdict} for one in decided]
    emit(as_json, {"rows": done, "report": str(page), "claims": verdicts})
