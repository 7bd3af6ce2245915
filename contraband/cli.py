"""The command line: every command, and how one is run to its end."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated

import typer
from typer.main import get_command

from blockwise.cluster.interrupts import SIGNALS, heard
from blockwise.errors import BadInput, BlockwiseError, is_outcome, one_line
from contraband.commands import data, handing, labelling, looking, settings, starting, study, training, upkeep, volumes
from contraband.commands.ending import INTERRUPTED, Ending, Interrupts, explained_by_limit, explained_by_system

# Typer carries its own copy of click; the base of its usage errors is found without naming that copy.
ClickError: type[Exception] = typer.BadParameter.__mro__[2]

TYPER_INTERRUPTED = 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

COMMANDS: dict[str, Callable[..., None]] = {
    "demo": data.demo,
    "start": starting.start,
    "import": data.import_volume,
    "points": training.points,
    "label": labelling.label,
    "train": training.train,
    "embed": training.embed,
    "validate": training.validate,
    "report": training.report,
    "study": study.study,
    "settings": settings.settings,
    "run": volumes.run,
    "predict-blockwise": volumes.predict_blockwise,
    "segment": volumes.segment,
    "evaluate": volumes.evaluate,
    "correct": volumes.correct,
    "export": handing.export,
    "objects": handing.objects,
    "plan": volumes.plan,
    "status": looking.status,
    "log": upkeep.log,
    "clean": upkeep.clean,
    "audit": volumes.audit,
    "view": looking.view,
    "dashboard": looking.dashboard,
}

ADVISED = {
    "--redo": ("run", "predict-blockwise"),
    "--grown": ("run", "predict-blockwise"),
    "--redo-failed": ("run",),
    "--from": ("run",),
}
"""Options that messages of the engine advise, and the commands that have them."""
OF_EXPERIMENTS = ("train", "embed", "validate", "demo")
"""Commands that run volumes of their own, without a settings file."""

for _name, _command in COMMANDS.items():
    app.command(_name)(_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        from contraband.volumes.version import version

        typer.echo(f"contraband {version()}")
        raise typer.Exit


@app.callback()
def contraband(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every step.")] = False,
    version: Annotated[  # noqa: ARG001 - its callback ends the command
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Contrastive learning and few-shot segmentation of biological image volumes.

    Exit codes: 0 done, 1 the work failed (what is finished is kept), 2 bad input (nothing was written).
    """
    try:
        Path.cwd()
    except OSError as error:
        what = f"is gone or closed to this user ({error.strerror})"
        raise BadInput("the working folder", what, todo="cd to another one") from None
    check_threads()
    level = logging.INFO if verbose else logging.WARNING
    # Libraries give their own loggers a lower level; what is shown is decided here, and what others keep by them.
    shown = logging.StreamHandler()
    shown.setLevel(level)
    if not verbose:
        shown.addFilter(lambda record: not is_outcome(record))
    logging.basicConfig(level=level, format="%(asctime)s %(name)s %(message)s", handlers=[shown])


def check_threads() -> None:
    """Raise BadInput for a number of threads that numba cannot be loaded with."""
    given = os.environ.get("NUMBA_NUM_THREADS", "1")
    if not given.isdecimal() or int(given) < 1:
        raise BadInput("the variable NUMBA_NUM_THREADS", "is no number of threads", got=repr(given), todo="unset it")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and end the process with its exit code."""
    interrupts = Interrupts()
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as after nohup
            signal.signal(number, interrupts)
    try:
        call(list(sys.argv[1:] if arguments is None else arguments), tell=interrupts.end)
    except KeyboardInterrupt:  # it came after all had been done, or had failed
        interrupts.end(INTERRUPTED)
    sys.exit(interrupts.code)


def call(arguments: list[str], tell: Callable[[Ending], None] = Ending.say) -> int:
    """Run one command; its exit code. Every error on purpose is one line on stderr. tell: what says how it ended."""
    ended = run_command(arguments)
    tell(ended)
    return ended.code


def run_command(arguments: list[str]) -> Ending:
    """Run one command; how it ended. What it raises is nobody's fault but the program's."""
    try:
        with heard():
            code = _all_commands()(args=repeat_flags(arguments), prog_name="contraband", standalone_mode=False)
        if code == TYPER_INTERRUPTED:
            return INTERRUPTED
        return Ending("", code if isinstance(code, int) else 0)
    except BlockwiseError as error:
        if explained := explained_by_limit(error):
            return explained
        return Ending(with_its_command(str(error), arguments), error.exit_code)
    except ClickError as error:
        # An empty message means that the help was shown because nothing was asked.
        message = error.format_message()  # type: ignore[attr-defined]
        return Ending(f"{one_line(message)}; see contraband --help" if message else "", 2)
    except typer.Exit as error:
        return Ending("", error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Ending("", 1)
    except Exception as error:
        if explained := explained_by_system(error):
            return explained
        raise


@cache
def _all_commands() -> Callable[..., object]:
    """The command line made from the functions, once in a process: that takes ten times as long as a short command."""
    return get_command(app)


def repeat_flags(arguments: list[str]) -> list[str]:
    """`--checkpoints 1 2` as `--checkpoints 1 --checkpoints 2`: a list may follow its flag, as it always did."""
    result: list[str] = []
    flag = ""
    for argument in arguments:
        if argument.startswith("-"):
            flag = argument if argument.lstrip("-") == "checkpoints" else ""
        elif flag and argument.isdigit() and result[-1] != flag:
            result.append(flag)
        result.append(argument)
    return result


def with_its_command(line: str, arguments: Sequence[str]) -> str:
    """The line; where it advises an option that the command has not, with the command that has it."""
    command = next((argument for argument in arguments if not argument.startswith("-")), "")
    advised = [option for option in ADVISED if re.search(rf"(?<!run ){option}(?![\w-])", line)]
    lacking = [option for option in advised if command not in ADVISED[option]]
    if not lacking:
        return line
    if command in OF_EXPERIMENTS:
        return f"{line} ({command} has no {lacking[0]}: remove the output and the .db beside it to make it again)"
    return f"{line} ({lacking[0]} is an option of `contraband run`)"
