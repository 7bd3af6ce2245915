"""The command line: every command, and how errors end."""

from __future__ import annotations

import errno
import logging
import os
import re
import resource
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
from blockwise.settings import shortened
from contraband.commands import data, handing, labelling, looking, settings, starting, study, training, upkeep, volumes

# Typer carries its own copy of click; the base of its usage errors is found without naming that copy.
ClickError: type[Exception] = typer.BadParameter.__mro__[2]

TYPER_INTERRUPTED = 130
INTERRUPTED = "interrupted; what is finished is kept, and the same command goes on from there"

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
    sys.exit(call(list(sys.argv[1:] if arguments is None else arguments)))


def call(arguments: list[str]) -> int:
    """Run one command; its exit code. Every error on purpose is one line on stderr."""
    try:
        with heard():
            code = _all_commands()(args=repeat_flags(arguments), prog_name="contraband", standalone_mode=False)
        if code == TYPER_INTERRUPTED:
            return _end(INTERRUPTED, 1)
        return code if isinstance(code, int) else 0
    except BlockwiseError as error:
        if explained := _explained_by_limit(error):
            return _end(*explained)
        return _end(with_its_command(str(error), arguments), error.exit_code)
    except ClickError as error:
        # An empty message means that the help was shown because nothing was asked.
        message = error.format_message()  # type: ignore[attr-defined]
        return _end(f"{one_line(message)}; see contraband --help", 2) if message else 2
    except typer.Exit as error:
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _end(INTERRUPTED, 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        explained = _explained(error)
        if explained is None:
            raise
        return _end(*explained)


@cache
def _all_commands() -> Callable[..., object]:
    """The command line made from the functions, once in a process: that takes ten times as long as a short command."""
    return get_command(app)


def _explained(error: Exception) -> tuple[str, int] | None:
    """What is wrong with the system rather than with the program, and the exit code; None if that is not known."""
    if explained := _explained_by_limit(error):
        return explained
    if isinstance(error, MemoryError):
        return "the memory does not suffice; what is finished is kept; take smaller blocks, or a larger machine", 1
    if isinstance(error, UnicodeEncodeError):
        name = error.object[error.start : error.end].encode("unicode_escape").decode()
        return (
            f"the locale ({error.encoding}) has no {name}, which a name here has; set PYTHONUTF8=1 or LC_ALL=C.UTF-8",
            2,
        )
    if str(error).startswith("A config file at "):  # so zarr's configuration fails, as zarr is imported
        return f"zarr's configuration: {one_line(str(error))[2:250]}; mend or remove it", 2
    return _explained_by_system(error) if isinstance(error, OSError) else None


def _explained_by_limit(error: Exception) -> tuple[str, int] | None:
    """The limit of the shell for the memory of a process, if there is one and the error is one that it makes.

    Libraries that cannot be loaded and threads that cannot be started are blamed on whatever was read meanwhile.
    """
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    causes: list[BaseException] = [error]
    while cause := causes[-1].__cause__ or causes[-1].__context__:
        causes.append(cause)
    is_of_memory = any(isinstance(one, MemoryError) or _OF_MEMORY(str(one)) for one in causes)
    if limit == resource.RLIM_INFINITY or not is_of_memory:
        return None
    size = f"{limit / 1e6:.0f} MB (ulimit -v {limit // 1024})"
    return f"a process may have only {size} here, which does not suffice; what is finished is kept; raise it", 1


_OF_MEMORY = re.compile(
    "shared object|failed to map segment|cannot allocate|start new thread|thread pool|out of memory", re.IGNORECASE
).search
"""What the loading of libraries and the start of threads say where memory lacks."""


def _explained_by_system(error: OSError) -> tuple[str, int] | None:
    place = shortened(str(error.filename or "the target"))
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{place}: no space is left on its disk; free some, then the same command goes on", 1
    if error.errno == errno.EFBIG:
        return f"{place}: would be larger than a file may be here (ulimit -f); what is finished is kept", 1
    if error.errno in (errno.EMFILE, errno.ENFILE):
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        line = f"too many files are open at once (ulimit -n {most}); what is finished is kept; raise it with ulimit -n"
        return line, 2
    if error.errno == errno.ENAMETOOLONG:
        return f"{place}: is too long a name for the file system; shorten it", 2
    if error.errno in _REFUSED and error.filename:
        return f"{place}: {error.strerror}; what is finished is kept", 2
    return None


_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ESTALE, errno.ELOOP, errno.ENOTDIR, errno.EISDIR)
"""What a file system says of its own state, and of paths that are of another kind than they are taken for."""


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


class Interrupts:
    """Ctrl-C, a batch system whose time is over, a terminal that is gone: what happens then.

    The first ends the command in order: what is being written is finished or given up, workers are ended. The second
    changes nothing, as that takes some seconds at most. The third ends this process at once, and workers notice.
    """

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, number: int, frame: object) -> None:
        self._count += 1
        if self._count == 1:
            raise KeyboardInterrupt
        if self._count > 2:
            os.write(2, b"contraband: ended at once\n")
            os._exit(1)


def _end(line: str, code: int) -> int:
    typer.echo(f"contraband: {line}", err=True)
    return code
