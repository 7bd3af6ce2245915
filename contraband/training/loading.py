"""Batches from loader processes, and what happens when one of those dies or hangs."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Generator, Iterator, Set
from contextlib import ExitStack, contextmanager
from multiprocessing import active_children
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Self

from torch.utils.data import DataLoader

from blockwise.errors import WorkFailed, one_line
from blockwise.executor.ondask.endings import how_ended
from contraband.models.hardware import Hardware
from contraband.training.interruption import ignore_interrupts
from contraband.training.settings import TrainSettings
from contraband.training.tasks import Batch, Task

ENDS_WITHIN_S = 2.0
"""So long it may take until a process whose connection is gone counts as ended."""


def batches(task: Task, settings: TrainSettings, done: int, hardware: Hardware) -> Generator[Batch]:
    """The batches of all steps still to do, on the device; batch i is the same whenever it is made. To be closed.

    RuntimeError if a loader process died or hangs; see `supervised`. It comes with the next batch, not within a step.
    """
    size = settings.batch_size
    loader = DataLoader(
        task.samples,
        batch_size=size,
        sampler=range(done * size, settings.num_iterations * size),
        num_workers=hardware.workers(settings.workers),
        pin_memory=hardware.is_gpu,
        worker_init_fn=ignore_interrupts,
    )
    before = set(active_children())
    iterator = iter(loader)
    with LoaderWatchdog(set(active_children()) - before, settings.loader_timeout_s) as watchdog:
        while (batch := watchdog.next_of(iterator)) is not None:
            with _deaf_to_children():
                yield {
                    name: value if name == "seed" else value.to(hardware.device, non_blocking=True)
                    for name, value in batch.items()
                }


class LoaderWatchdog:
    """Kills loader processes that give nothing for too long, so that whoever waits for them goes on.

    The loader's own timeout does not help where a process hangs after it announced a batch: tensors are then fetched
    from it without any.
    """

    def __init__(self, processes: Set[BaseProcess], timeout_s: float) -> None:
        self.processes = processes
        self.timeout_s = timeout_s
        self.deadline = math.inf
        self.hung = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        if self.processes:
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()

    def next_of(self, iterator: Iterator[Batch]) -> Batch | None:
        """The next batch, None after the last; RuntimeError if a process died or hangs."""
        if fault := self._fault(0.0):
            raise RuntimeError(fault)
        self.deadline = time.monotonic() + self.timeout_s
        try:
            return next(iterator, None)
        except WorkFailed as error:  # from a loader process, with its traceback in the text
            raise WorkFailed(one_line(str(error).rpartition("WorkFailed: ")[2])) from None
        except Exception as error:
            if fault := self._fault(ENDS_WITHIN_S):
                raise RuntimeError(fault) from error
            raise
        finally:
            self.deadline = math.inf

    def _fault(self, within_s: float) -> str:
        """Whether the processes hang, or how one of them has ended; empty if all go on."""
        if self.hung:
            return f"DataLoader processes gave nothing for {self.timeout_s:g} s"
        ended = wait([process.sentinel for process in self.processes], within_s) if self.processes else ()
        for process in self.processes:
            if process.sentinel in ended:
                process.join(ENDS_WITHIN_S)  # its connections are closed a moment before it counts as ended
                return "DataLoader process ended: " + how_ended(process.exitcode or 0)
        return ""

    def _watch(self) -> None:
        while not self._over.wait(min(1.0, self.timeout_s / 4)):
            if time.monotonic() > self.deadline:
                self.hung = True
                for process in self.processes:
                    process.kill()
                return


@contextmanager
def supervised(folder: Path, settings: TrainSettings) -> Iterator[None]:
    """Loader processes started inside are gone afterwards; WorkFailed if one died, or gave nothing for too long.

    The death of a process is noticed as soon as the next batch is asked for.
    """
    before = set(active_children())
    with ExitStack() as afterwards:
        try:
            try:
                yield
            finally:
                afterwards.enter_context(_deaf_to_children())
        except RuntimeError as error:
            if "DataLoader" not in str(error):
                raise
            what = " ".join(str(error).split())
            raise WorkFailed(
                f"{folder}: a loader process is gone or hangs ({what}); the newest checkpoint is kept; look for too "
                f"little memory or storage that does not answer, or raise loader_timeout_s from "
                f"{settings.loader_timeout_s:g}"
            ) from error
        finally:
            for process in set(active_children()) - before:
                process.kill()
                process.join()


@contextmanager
def _deaf_to_children() -> Iterator[None]:
    """The death of a process is not told meanwhile: torch's handler would raise wherever this process is just then."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL if handler is None else handler)
