"""How worker processes start on this machine: without running the script, or the notebook, that starts them."""

from __future__ import annotations

import multiprocessing.process
import multiprocessing.spawn
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from blockwise.errors import BadInput

_WORKER = "Dask Worker"
"""How the name begins that a nanny gives to the process of its worker."""
_MAIN = ("init_main_from_name", "init_main_from_path")


def check_may_start() -> None:
    """Raise BadInput where Python lets no process be started; it would say so in a traceback for each worker."""
    here = multiprocessing.process.current_process()
    todo = "set cluster.kind: none"
    if getattr(here, "_inheriting", False):  # a process that another package has spawned imports the script
        raise BadInput(
            "cluster",
            "workers cannot start while a new process is reading this script again",
            todo=f'put what runs under `if __name__ == "__main__":`, or {todo}',
        )
    if here.daemon:
        raise BadInput("cluster", "this process is a daemon, which may start no workers", todo=todo)


@contextmanager
def without_main() -> Iterator[None]:
    """Within this, workers start without the main module of this process.

    Python has a spawned process import it, for the sake of what is defined there; without `if __name__ ==
    "__main__"` in the script every worker would start the run again. Workers need nothing of it: a stage that is
    defined there is sent as a whole. Other processes are started as ever, and so are all where Python has changed.
    """
    spawn: Any = multiprocessing.spawn
    told = getattr(spawn, "get_preparation_data", None)
    if told is None:
        yield
        return
    if not isinstance(told, _Preparation):  # else another cluster is open
        told = _Preparation(told)
        spawn.get_preparation_data = told
    told.clusters += 1
    try:
        yield
    finally:
        told.clusters -= 1
        if not told.clusters and spawn.get_preparation_data is told:
            spawn.get_preparation_data = told.everything


class _Preparation:
    """What a new process is told of this one; of a worker, all but the main module."""

    def __init__(self, everything: Callable[[str], dict[str, Any]]) -> None:
        self.everything = everything
        self.clusters = 0
        """That are open."""

    def __call__(self, name: str) -> dict[str, Any]:
        data = self.everything(name)
        if name.startswith(_WORKER):
            for key in _MAIN:
                data.pop(key, None)
        return data
