"""Dask's own configuration, which others have written for other programs: told of where it breaks ours."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from blockwise.errors import BadInput, one_line
from blockwise.files.home import ensure_home

_LINK = "{scheme}://{host}:{port}/status"
_TLS = ("ca-file", "scheduler.cert", "scheduler.key", "worker.cert", "worker.key", "client.cert", "client.key")
SAMPLING = {
    # What Dask samples for its pages, 100 and 50 times a second by its own choice, costs a process 5 % of a core even
    # when there is nothing to do; blocks take seconds.
    "distributed.worker.profile.interval": "100ms",
    "distributed.admin.tick.interval": "500ms",
}
_SHARES = tuple(f"distributed.worker.memory.{name}" for name in ("target", "spill", "pause", "terminate"))
_LIKE = {
    "distributed.scheduler.bandwidth": "100MB",
    "distributed.worker.lifetime.duration": "1h",
    "distributed.worker.memory.max-spill": "1GB",
    **dict.fromkeys(("distributed.scheduler.idle-timeout", "distributed.scheduler.no-workers-timeout"), "1h"),
}
"""What a value looks like of those that Dask leaves open, or brings in another form."""
_SCHEDULER = {
    # A batch lost with its worker is tried again by the run, block by block: Dask must not do so by itself.
    "distributed.scheduler.allowed-failures": 0,
    # Tasks go to workers at once instead of waiting for word from them, twice as many a second. What Dask holds them
    # back for, memory, is bounded by how few the run has out.
    "distributed.scheduler.worker-saturation": float("inf"),
    # After this time (of Dask's own choice: 15 s) a worker that died is not started again, even if it is away for the
    # second time only since a moment: two deaths in a row would end the pool.
    "distributed.deploy.lost-worker-timeout": "1 day",
    # A worker that says nothing may hold the interpreter for long; the run finds out (`executor/silence.py`).
    "distributed.scheduler.worker-ttl": None,
    # The dashboard shows stages by their names; the source of the line that sends them, looked for each time, is ours.
    "distributed.diagnostics.computations.nframes": 0,
    **SAMPLING,
}
_THIS_MACHINE = {
    # Nothing leaves this machine, so certificates that are set up for another cluster would only be in the way.
    "distributed.comm.default-scheme": "tcp",
    "distributed.comm.require-encryption": False,
    "distributed.scheduler.contact-address": None,
    **{f"distributed.comm.tls.{name}": None for name in _TLS},
    # The run tells when it ends; a stage may need the driver for longer than others let a scheduler wait.
    "distributed.scheduler.idle-timeout": None,
    "distributed.scheduler.no-workers-timeout": None,
}


def import_dask() -> None:
    """Load Dask; BadInput if its configuration keeps it from being loaded."""
    ensure_home()
    try:
        import distributed  # noqa: F401 - it reads Dask's configuration and its own part of it
    except ImportError:
        raise
    except Exception as error:  # it reads files and variables of any content as it is imported
        text = (one_line(str(error)) or type(error).__name__)[:300]
        raise BadInput("cluster", f"Dask's configuration cannot be read ({text})", todo=f"see {sources()}") from None


def check_values() -> None:
    """Raise BadInput for a value in Dask's configuration that is of another kind than the one that Dask brings.

    Many of them are read only in workers, with a traceback each time, ten times a second, or so that nothing comes
    back from there.
    """
    import dask
    from distributed.config import defaults

    for key, default in _entries({"distributed": defaults["distributed"]}):
        value = dask.config.get(key, default)
        # A share alone may not be left open.
        wanted = "a number" if value is None and key in _SHARES else _wanted(value, _LIKE.get(key, default))
        if wanted:
            what = f"Dask's configuration makes no sense in {key}"
            raise BadInput("cluster", what, got=repr(value), wanted=wanted, todo=f"see {sources()}")


def _entries(values: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    """All keys that have a value, with all above them; without the variables that workers are given."""
    for name, value in values.items():
        key = f"{within}{name}"
        if not isinstance(value, Mapping):
            yield key, value
        elif key != "distributed.nanny.pre-spawn-environ":
            yield from _entries(value, f"{key}.")


def _wanted(value: Any, example: object) -> str:
    """What there should be instead of a value; empty if it is of the example's kind, left open, or switched off."""
    from dask.utils import parse_bytes, parse_timedelta

    if value is None or isinstance(value, bool) or isinstance(example, bool):
        return ""
    if isinstance(example, int | float):
        return "" if value == "inf" or isinstance(value, int | float) else "a number"
    if isinstance(example, str):
        for wanted, read in (("a time such as 10s", parse_timedelta), ("a size such as 10MB", parse_bytes)):
            if _is_read(read, example):
                return "" if _is_read(read, value) else wanted
    return ""


def _is_read(read: Callable[[Any], object], value: Any) -> bool:
    try:
        return read(value) is not None
    except (ValueError, TypeError, KeyError, AttributeError):
        return False


def chosen(on_this_machine: bool) -> dict[str, Any]:
    """What a run sets in Dask's configuration. on_this_machine: the scheduler and all workers are started here."""
    import dask

    found = {**_SCHEDULER, **(_THIS_MACHINE if on_this_machine else {})}
    template = dask.config.get("distributed.dashboard.link", _LINK)
    try:
        str(template).format(**{**os.environ, "scheme": "http", "host": "host", "port": 8787})
    except (KeyError, ValueError, IndexError, AttributeError):  # of a JupyterHub, say, that is not here
        found["distributed.dashboard.link"] = _LINK
    return found


def exported(told: Mapping[str, object]) -> list[str]:
    """Lines of a shell that set keys of Dask's configuration for a worker that is started by a job."""
    return [f"export DASK_{name.upper().replace('.', '__')}={value}" for name, value in told.items()]


def link_here() -> dict[str, Any]:
    """Where the dashboard of a scheduler on this machine is, which listens to nobody else, unless a site says it."""
    import dask

    template = str(dask.config.get("distributed.dashboard.link", _LINK))
    return {"distributed.dashboard.link": template.replace("{host}", "127.0.0.1")} if template == _LINK else {}


def not_started(what: str, error: BaseException) -> BadInput:
    """The error of a cluster that does not start, with where Dask's configuration comes from if there is any."""
    while error.__cause__ is not None or (error.__context__ is not None and not error.__suppress_context__):
        error = error.__cause__ or error.__context__ or error
    text = one_line(str(error)) or type(error).__name__
    where = sources()
    todo = f"look at Dask's configuration: {where}" if where else ""
    return BadInput("cluster", f"{what} ({type(error).__name__}: {text[:300]})", todo=todo)


def sources() -> str:
    """The files and variables that Dask is configured by on this machine, for people; nothing if there are none."""
    try:
        from dask.config import paths
    except Exception:  # what is told of is just why it cannot be imported
        paths = [os.environ.get("DASK_CONFIG", ""), os.path.expanduser("~/.config/dask"), "/etc/dask"]
    files = [str(file) for path in paths if path for file in _yaml_files(Path(path))]
    variables = sorted(name for name in os.environ if name.startswith("DASK_") and name != "DASK_CONFIG")
    return ", ".join([*files, *variables])


def _yaml_files(path: Path) -> list[Path]:
    try:
        if path.is_file():
            return [path]
        return sorted(file for file in path.iterdir() if file.suffix in (".yaml", ".yml", ".json"))
    except OSError:
        return []
