"""Run stages of a volume: open cluster, executor and store, run, report."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

from blockwise.arrays.chunks import told_missing
from blockwise.arrays.durable import remove_torn
from blockwise.cluster.open import dashboard_address, open_cluster
from blockwise.engine.options import RunOptions, StageResult
from blockwise.engine.preflight import Preflight, check_stages, examine
from blockwise.engine.run import run_examined
from blockwise.engine.standing import standings
from blockwise.errors import BadInput, WorkFailed
from blockwise.executor import Executor, InProcess, OnDask
from blockwise.stage import Stage
from blockwise.store import empty_store, open_store
from blockwise.store.base import Store, another_run, masked
from contraband.volumes.belonging import Belonging, find_belonging, is_store_there, opened_store, sqlite_path
from contraband.volumes.line import absolute
from contraband.volumes.output import Output, check_output
from contraband.volumes.report import write_report
from contraband.volumes.settings import VolumeSettings, with_cluster

log = logging.getLogger(__name__)

MOST_CHUNKS = 100_000
"""Of an input of a run: whether each of more has a file takes long to see; `plan` takes the time."""


def execute(
    settings: VolumeSettings, line: Sequence[Stage], options: RunOptions, before: Sequence[Stage] = ()
) -> list[StageResult]:
    """Run the stages and write report.json; raises BadInput before anything is written, or WorkFailed.

    before: the stages ahead of these, which must be finished with their present settings.
    """
    if settings.cluster.kind == "auto":
        settings = with_cluster(settings)
        if settings.cluster.in_process:
            options.announce("a small volume: blocks run in this process (cluster.kind: local has them run by workers)")
    output = Output(settings.output)
    results: list[StageResult] = []
    wanted = replace(
        options,
        before=[absolute(stage) for stage in before],
        chain=settings.cluster.chain,
        on_result=results.append,
    )
    with (
        examined(settings, line, wanted) as (flight, store, belonging),
        opened_executor(settings, store, options) as executor,
    ):
        for job in flight.jobs:
            executor.check(job.stage)
        for note in notes_on(line):
            options.announce(note)
        with (
            claimed(settings, store, belonging, options.announce),
            shown_on_page(settings, line, executor, options) as watched,
            reported(output, results),
        ):
            watched.keep_logs(output.logs.absolute())
            run_examined(flight, store, watched, wanted)
            tidy(output.files, results)
    return results


def notes_on(line: Sequence[Stage], most_chunks: int = MOST_CHUNKS) -> list[str]:
    """What a user should know of the inputs of a run, in lines.

    most_chunks: of an input of more, files are not looked for.
    """
    made = {volume.path for stage in line for volume in stage.outputs()}
    given = dict.fromkeys(volume for stage in line for volume in stage.inputs() if volume.path not in made)
    lacking = [told_missing(volume, most_chunks) for volume in given]
    return [*(note for stage in line for note in stage.notes()), *(line for line in lacking if line)]


@contextmanager
def examined(
    settings: VolumeSettings, line: Sequence[Stage], options: RunOptions
) -> Iterator[tuple[Preflight, Store, Belonging]]:
    """What is going to be done, the open store, and whose it is; all that can be refused is refused here.

    That is before a worker starts and before the first byte is written; only what workers lack shows later.
    """
    check_output(settings, line)
    settings.cluster.check_memory()
    check_stages(line)
    belonging = find_belonging(settings)
    with opened_store(settings, belonging.identity) as store:
        check_owner(store, belonging)
        store.check_writable()
        known = empty_store() if belonging.lost else store
        yield examine([absolute(stage) for stage in line], known, None, options), store, belonging


@contextmanager
def claimed(
    settings: VolumeSettings, store: Store, belonging: Belonging, announce: Callable[[str], None]
) -> Iterator[None]:
    """Hold the output while the run goes on, tied to its store; BadInput if another run holds it.

    What the store still has of outputs that are gone from here is forgotten.
    """
    output = Output(settings.output)
    with output.held():
        if output.identity() not in (None, belonging.identity):
            raise BadInput(output.path, "has just been made by another run", todo="run again")
        for identity in belonging.lost:
            announce(f"{output.path} is gone: its progress is forgotten, and the run starts again from nothing")
            with closing(open_store(settings.store_url, identity)) as old:
                old.forget()
        if output.identity() is not None and store.owner() is None and output.contents():
            announce(f"{masked(store.url)} knows nothing of {output.path}: what is there is made again")
        # The output is marked before the store is claimed: whenever a run dies, the next one finds them at one.
        output.mark(belonging.identity)
        store.claim(belonging.identity, output.place)
        yield


def is_only_read(settings: VolumeSettings, line: Sequence[Stage]) -> bool:
    """Whether all of the stages, the first of the line on, are finished and their output or store cannot be written.

    As on a disk that is mounted for reading: then nothing is left to do that could be done. Raises BadInput for a store
    of another output.
    """
    if _can_be_written(settings) or not is_store_there(settings.store_url):
        return False
    belonging = find_belonging(settings)
    if belonging.lost:
        return False
    with opened_store(settings, belonging.identity) as store:
        check_owner(store, belonging)
        finished = {one.name for one in store.stages() if one.finished}
        found = standings([absolute(stage) for stage in line], store)
    return all(one.state == "done" and one.stage.name in finished for one in found)


def _can_be_written(settings: VolumeSettings) -> bool:
    try:
        check_output(settings, ())
    except BadInput:
        return False
    files, store = Output(settings.output).files, sqlite_path(settings.store_url)
    places = [place for place in (files, store, store and store.parent) if place and place.exists()]
    return all(os.access(place, os.W_OK) for place in places)


@contextmanager
def reported(output: Output, results: Sequence[StageResult]) -> Iterator[None]:
    """Write report.json at the end, however it comes."""
    try:
        yield
    finally:
        if results:
            keep_report(output, results)


def tidy(files: Path, results: Sequence[StageResult]) -> None:
    """Remove what killed writers of this run and of those before it have left; all blocks are done and marked."""
    worked = any(result.blocks_done for result in results)
    count = remove_torn(files, in_arrays=worked)  # else a finished run of a million blocks would not end at once
    if count:
        log.info("%s: %d files removed that killed writers have left", files, count)


def keep_report(output: Output, results: Sequence[StageResult]) -> None:
    """Write report.json; WorkFailed if the disk is full."""
    try:
        write_report(output.report, results, output.told_by_predictions())
    except OSError as error:
        raise WorkFailed(
            f"{output.report}: cannot be written ({error}); what is finished is kept, run again"
        ) from error


@contextmanager
def opened_executor(settings: VolumeSettings, store: Store, options: RunOptions) -> Iterator[Executor]:
    """Blocks run in this process (cluster.kind none) or on Dask workers."""
    if settings.cluster.in_process:
        with InProcess(store.url) as executor:
            yield executor
        return
    with open_cluster(settings.cluster) as client:
        options.announce(f"dashboard: {dashboard_address(client) or 'none'}")
        with OnDask(
            client,
            store.url,
            settings.cluster.promised(),
            deadline_s=settings.cluster.deadline_s,
            lost_s=settings.cluster.lost_s,
        ) as executor:
            yield executor


@contextmanager
def shown_on_page(
    settings: VolumeSettings, line: Sequence[Stage], executor: Executor, options: RunOptions
) -> Iterator[Executor]:
    """Show the run on a page, and leave its address and that of Dask's in the output for `contraband dashboard`.

    The page is beside Dask's if the scheduler is in this process, else on a server of this process.
    Yields the executor to be used, of which the page knows what it works on.
    """
    if not isinstance(executor, OnDask):
        yield executor
        return
    from contraband.volumes.monitor.facts import Facts
    from contraband.volumes.monitor.serving import serve_beside, served_here
    from contraband.volumes.monitor.watched import Watched

    watched = Watched(executor)
    dask = dashboard_address(executor.client)
    facts = Facts(settings, line, watched.running)
    with ExitStack() as stack:
        page = serve_beside(executor.client, dask, facts)
        # A scheduler that is another process cannot be given our page.
        if page is None and settings.cluster.dashboard is not False:
            page = stack.enter_context(served_here(facts))
        if page is not None:
            options.announce(f"progress: {page}")
        note = Output(settings.output).dashboard
        note.write_text(f"{os.getpid()} {page or '-'} {dask or '-'}\n", encoding="utf-8")
        stack.callback(note.unlink, missing_ok=True)
        yield watched


def check_owner(store: Store, belonging: Belonging) -> None:
    """Raise BadInput if the store belongs to another output, that may still be there; writes nothing."""
    owner = store.owner()
    if owner not in (None, belonging.identity, *belonging.lost):
        where = store.outputs().get(str(owner)) or str(owner)
        raise another_run(masked(store.url), where, belonging.identity)


def running_dashboards(settings: VolumeSettings) -> list[str]:
    """The addresses of the pages of a run that goes on now on this machine, its own first; none if there is none."""
    try:
        pid, *addresses = Output(settings.output).dashboard.read_text(encoding="utf-8").split()
        os.kill(int(pid), 0)
    except (OSError, ValueError):
        return []
    return [address for address in addresses if address != "-"]
