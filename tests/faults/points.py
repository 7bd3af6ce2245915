"""Every point of death, in the order of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

from tests.faults.strike import Strike
from tests.faults.volume import LAST, MIDDLE

WORDS = ("fragments", "edges", "agglomerate", "segment", "evaluate")
DIED, DONE, FAILED = (-9,), (0,), (1,)


@dataclass(frozen=True)
class Point:
    """One fault, where it strikes, and how the run that is struck must end. Started again, every run must finish."""

    where: str
    strike: Strike | None = None
    executor: str = "process"
    """process: blocks run in the driver; dask: on two workers."""
    store: str = "sqlite"
    first: tuple[int, ...] = DIED
    """Exit codes that the struck run may end with."""
    scene: str = ""
    """What is done from outside meanwhile; see `tests.faults.scenes`."""
    flags: tuple[str, ...] = ()
    """Of the run that is struck."""
    again: tuple[str, ...] = ()
    """Of the runs after it."""
    settings: tuple[str, ...] = field(default=())
    """Which change nothing in what is made."""
    asked: tuple[str, ...] = ()
    """Settings that do, so that the undisturbed run has them, too."""
    environment: tuple[tuple[str, str], ...] = ()
    predicts: bool = False
    quick: bool = False
    is_in_bucket: bool = False
    """Whether volume and output lie in an object store, not on the disk."""
    fails: tuple[str, ...] = ()
    """Faults that each seventh request meets, one after the other; see `tests.support.buckets`."""

    @property
    def volumes(self) -> str:
        """Where they lie, as in the table."""
        return "s3" if self.is_in_bucket else "disk"

    @property
    def name(self) -> str:
        """As in the table, and for `--only`."""
        return f"{self.where} [{self.executor}, {self.store}{', s3' if self.is_in_bucket else ''}]"


def all_points() -> list[Point]:
    """The whole list."""
    groups = (
        in_every_stage(),
        on_workers(),
        torn_files(),
        tables(),
        driver_alone(),
        signals(),
        workers_lost(),
        stores(),
        full_disks(),
        redone(),
        in_boxes(),
        predicted(),
        failing_blocks(),
        two_drivers(),
        in_buckets(),
        requests_fail(),
    )
    return [point for group in groups for point in group]


def in_every_stage() -> list[Point]:
    """Blocks run in the driver, which dies around its work and around its marks, in each stage."""
    stores = cycle(("sqlite", "mongo"))
    moments = [
        ("before a block", "process", "before"),
        ("after a block, before its mark", "process", "after"),
        ("before the mark", "mark", "before"),
        ("after the mark", "mark", "after"),
    ]
    found = []
    for word in WORDS:
        block = None if word == "agglomerate" else MIDDLE
        for text, verb, moment in moments:
            strike = Strike(f"{verb} {word}", moment, block=block)
            quick = (word, text) == ("segment", "before the mark")
            found.append(Point(f"{word}: driver killed {text}", strike, store=next(stores), quick=quick))
        next(stores)
    return found


def on_workers() -> list[Point]:
    """The same with Dask: a killed worker does not end the run, a killed driver does."""
    stores = cycle(("sqlite", "mongo", "mongo", "sqlite"))
    found = []
    for word in WORDS:
        block = None if word == "agglomerate" else MIDDLE
        for moment in ("before", "after"):
            strike = Strike(f"process {word}", moment, block=block)
            text = f"{word}: worker killed {moment} the write"
            quick = (word, moment) == ("segment", "after")
            found.append(Point(text, strike, "dask", next(stores), DONE, quick=quick))
        for moment in ("before", "after"):
            strike = Strike(f"mark {word}", moment, block=block)
            found.append(Point(f"{word}: driver killed {moment} the mark", strike, "dask", next(stores)))
    return found


def torn_files() -> list[Point]:
    """In the middle of writing a file."""
    shards = [
        ("fragments", "c/1/1/1", "process", DIED),
        ("fragments", "c/2/2/2", "dask", DONE),
        ("segments/0.3", "c/1/1/1", "process", DIED),
        ("segments/0.5", "c/0/0/0", "dask", DONE),
    ]
    found = [
        Point(
            f"{array}: killed with half a shard",
            Strike(f"file {array}/{file}", "torn"),
            executor,
            first=first,
            quick=(array, executor) == ("fragments", "process"),
        )
        for array, file, executor, first in shards
    ]
    found += [
        Point(
            f"{array}: killed before a shard gets its name",
            Strike(f"file {array}/{file}", "whole"),
            executor,
            first=first,
        )
        for array, file, executor, first in shards[:2]
    ]
    # The same file of fragments again, with the final numbers that segment writes over the provisional ones.
    found += [
        Point(f"fragments, renumbered: killed {moment} a shard", Strike("file fragments/c/1/1/1", moment, nth=2))
        for moment in ("torn", "after")
    ]
    files = [
        ("zarr.json", 1),
        ("zarr.json", 2),
        ("zarr.json", 3),
        ("fragments/zarr.json", 1),
        ("agglomeration/zarr.json", 1),
        ("agglomeration/parent/zarr.json", 1),
        ("agglomeration/score/c/0", 1),
        ("segments/zarr.json", 1),
        ("segments/0.3/zarr.json", 1),
        ("segments/zarr.json", 2),
        ("segments/0.5/zarr.json", 1),
    ]
    found += [
        Point(f"driver killed within {file}, write {nth}", Strike(f"file {file}", "torn", nth=nth))
        for file, nth in files
    ]
    found += [
        Point("evaluation.json: killed with half of it", Strike("json evaluation.json", "torn")),
        Point("report.json: killed with half of it", Strike("json report.json", "torn")),
    ]
    return found


def tables() -> list[Point]:
    """Between the parts of what a block leaves."""
    places = [
        ("fragments", "before", 1, "between voxels and tables"),
        ("fragments", "after", 1, "after the tables"),
        ("edges", "after", 1, "between two tables"),
        ("agglomerate", "after", 14, "after half of the names"),
    ]
    found = []
    for word, moment, nth, text in places:
        block = None if word == "agglomerate" else LAST
        strike = Strike(f"tables in {word}", moment, block=block, nth=nth)
        store = "mongo" if word == "edges" else "sqlite"
        found.append(Point(f"{word}: killed {text}", strike, store=store))
        found.append(Point(f"{word}: worker killed {text}", strike, "dask", store, DONE))
    strike = Strike("write in segment", "after", block=MIDDLE)
    found.append(Point("segment: killed between fragments and segments", strike))
    found.append(Point("segment: worker killed between fragments and segments", strike, "dask", "mongo", DONE))
    return found


def driver_alone() -> list[Point]:
    """What only the driver does."""
    places = [
        ("start", "before"),
        ("claim", "before"),
        ("claim", "after"),
        ("mark output", "after"),
        ("begin fragments", "after"),
        ("prepare fragments", "after"),
        ("transaction fragments", "after"),
        ("end fragments", "before"),
        ("end fragments", "after"),
        ("begin edges", "before"),
        ("transaction edges", "after"),
        ("begin agglomerate", "after"),
        ("end agglomerate", "before"),
        ("prepare segment", "before"),
        ("prepare segment", "after"),
        ("transaction segment", "after"),
        ("finish evaluate", "before"),
        ("finish evaluate", "after"),
        ("end evaluate", "after"),
        ("json report.json", "before"),
        ("json report.json", "after"),
    ]
    twice = {"claim", "begin fragments", "prepare segment", "finish evaluate"}
    found = []
    for place, moment in places:
        strike = Strike(place, moment)
        found.append(Point(f"driver killed {moment} {place}", strike, quick=(place, moment) == ("claim", "after")))
        if place in twice and moment == "after":
            found.append(Point(f"driver killed {moment} {place}", strike, store="mongo"))
    return found


def signals() -> list[Point]:
    """The driver is asked to end."""
    held = Strike("process segment", "before", "hold", block=MIDDLE)
    return [
        Point("Ctrl-C in a block", Strike("process edges", "before", "interrupt", MIDDLE), first=FAILED),
        Point("Ctrl-C in a mark", Strike("mark edges", "before", "interrupt", MIDDLE), store="mongo", first=FAILED),
        Point("Ctrl-C in finish", Strike("finish evaluate", "before", "interrupt"), first=FAILED),
        Point("Ctrl-C at the terminal", held, "dask", first=FAILED, scene="interrupt_all"),
        Point("SIGTERM in a block", Strike("process edges", "after", "term", MIDDLE), first=FAILED, quick=True),
        Point("SIGTERM in prepare", Strike("prepare segment", "before", "term"), first=FAILED),
        Point("SIGTERM of the driver", held, "dask", first=FAILED, scene="terminate_driver"),
        Point("SIGHUP of the driver", held, "dask", first=FAILED, scene="hang_up_driver"),
    ]


def workers_lost() -> list[Point]:
    """Workers that run out of memory, hang, are ended, or live longer than their driver."""
    small = ("cluster.memory=700MB",)
    return [
        Point(
            "worker out of memory in fragments",
            Strike("process fragments", "before", "exhaust", MIDDLE),
            "dask",
            first=DONE,
            settings=small,
        ),
        Point(
            "worker out of memory in segment",
            Strike("process segment", "after", "exhaust", MIDDLE),
            "dask",
            first=DONE,
            settings=small,
        ),
        Point(
            "worker stopped for good in edges",
            Strike("process edges", "before", "stop", MIDDLE),
            "dask",
            first=DONE,
            settings=("cluster.lost_s=3",),
        ),
        Point(
            "block hangs for ever in edges",
            Strike("process edges", "before", "hang", MIDDLE),
            "dask",
            first=DONE,
            settings=("cluster.deadline_s=3",),
        ),
        Point("worker terminated in segment", Strike("process segment", "before", "term", MIDDLE), "dask", first=DONE),
        Point(
            "both workers killed, one after the other",
            Strike("process segment", "after", "kill", times=2),
            "dask",
            first=DONE,
        ),
        Point(
            "worker outlives its killed driver",
            Strike("write in fragments", "before", "hold", MIDDLE),
            "dask",
            scene="kill_driver_and_go_on",
        ),
        Point(
            "everything killed at once",
            Strike("process segment", "after", "hold", MIDDLE),
            "dask",
            "mongo",
            scene="kill_all",
        ),
    ]


def stores() -> list[Point]:
    """The memory of the run fails."""
    found = [
        Point(
            f"MongoDB killed before {place}",
            Strike(place, "before", "hold", block),
            executor,
            "own mongo",
            FAILED,
            "kill_server",
        )
        for place, block, executor in (
            ("mark fragments", MIDDLE, "process"),
            ("tables in edges", MIDDLE, "process"),
            ("prepare segment", None, "process"),
            ("end evaluate", None, "process"),
            ("mark edges", MIDDLE, "dask"),
        )
    ]
    found += [
        Point(
            "MongoDB killed and started again before a mark",
            Strike("mark segment", "before", "hold", MIDDLE),
            executor,
            "own mongo",
            (0, 1),
            "restart_server",
        )
        for executor in ("process", "dask")
    ]
    found += [
        Point(
            "SQLite locked for a moment", Strike("mark edges", "before", "hold", MIDDLE), first=DONE, scene="lock_store"
        ),
        Point(
            "SQLite locked for long",
            Strike("mark edges", "before", "hold", MIDDLE),
            first=FAILED,
            scene="lock_store_for_long",
        ),
        Point("SQLite removed after a kill", Strike("process segment", "after", block=MIDDLE), scene="remove_store"),
        Point("SQLite loses the end of its log", Strike("mark segment", "after", block=MIDDLE), scene="tear_log"),
    ]
    return found


def full_disks() -> list[Point]:
    """Nothing more can be written."""
    again = ("--redo-failed",)
    return [
        Point("disk full under the output", None, store="mongo", first=FAILED, scene="full_output", again=again),
        Point("disk full under the output", None, "dask", "mongo", FAILED, "full_output", again=again),
        Point("disk full under the store", None, first=FAILED, scene="full_store", again=again),
        Point("disk full under the store", None, "dask", first=FAILED, scene="full_store", again=again),
        Point(
            "disk full for report.json",
            Strike("json report.json", "before", "hold"),
            store="mongo",
            first=FAILED,
            scene="fill_output",
        ),
        Point("files limited under the store", None, first=FAILED, scene="small_files", again=again),
        Point("files limited under the output", None, store="mongo", first=FAILED, scene="tiny_files", again=again),
    ]


def redone() -> list[Point]:
    """A finished run whose stages are made anew, and which dies over it."""
    places = [
        ("fragments", "clear edges", "after"),
        ("fragments", "clear fragments", "before"),
        ("fragments", "mark fragments", "after"),
        ("edges", "clear segment", "before"),
        ("edges", "mark edges", "after"),
        ("edges", "mark segment", "before"),
        ("agglomerate", "process agglomerate", "after"),
        ("segment", "write in segment", "before"),
    ]
    return [
        Point(
            f"--redo {word}: killed {moment} {place}",
            Strike(place, moment),
            scene="after_a_run",
            store="mongo" if place.startswith("clear") else "sqlite",
            flags=("--redo", word),
            quick=(word, place) == ("edges", "mark edges"),
        )
        for word, place, moment in places
    ]


def in_boxes() -> list[Point]:
    """A graph that is solved in boxes."""
    memory, compact = ("agglomerate.memory=20KB",), ("segment.numbers=compact",)
    places = [
        ("substage sizes", "after", 1),
        ("substage borders", "before", 2),
        ("substage shared", "before", 2),
        ("substage united/1", "after", 1),
        ("substage named/1", "before", 1),
        ("substage named/1", "after", 1),
        ("substage leaves", "after", 2),
        ("substage 1", "before", 1),
        ("substage 1", "after", 1),
        ("substage pieces", "after", 2),
        ("substage 0.3/1", "after", 1),
        ("substage 0.3/leaves", "before", 2),
        ("substage 0.5/leaves", "after", 1),
        ("substage 0.3/begins", "after", 1),
        ("substage 0.5/numbers", "before", 2),
        ("substage truths", "after", 1),
        ("substage scores/0", "after", 2),
        ("substage scores/1", "before", 1),
        ("substage objects/0", "after", 1),
        ("box put", "before", 3),
        ("box put", "after", 20),
        ("process agglomerate", "before", 1),
        ("process agglomerate", "after", 1),
        ("box clear", "before", 2),
        ("box clear", "after", 2),
    ]
    stores = cycle(("sqlite", "mongo"))
    return [
        Point(
            f"driver killed {moment} {place}, {nth}, in boxes",
            Strike(place, moment, nth=nth),
            store=next(stores),
            settings=memory,
            asked=compact if place.endswith(("begins", "numbers")) else (),
        )
        for place, moment, nth in places
    ] + [
        Point(
            f"worker killed {moment} {place}, in boxes",
            Strike(place, moment, nth=nth),
            "dask",
            store=next(stores),
            first=DONE,
            settings=memory,
            asked=compact if place.endswith(("begins", "numbers")) else (),
            quick=place == "substage leaves",
        )
        for place, moment, nth in (
            ("substage shared", "after", 2),
            ("substage united/1", "after", 1),
            ("substage leaves", "after", 2),
            ("substage 1", "before", 1),
            ("substage pieces", "before", 2),
            ("substage 0.5/leaves", "after", 2),
            ("substage 0.3/numbers", "after", 1),
            ("substage scores/0", "after", 2),
            ("substage objects/0", "before", 1),
            ("box put", "after", 30),
        )
    ]


def predicted() -> list[Point]:
    """The network's stage."""
    return [
        Point("predict: killed before a block", Strike("process predict", "before", block=MIDDLE), predicts=True),
        Point("predict: killed with half a shard", Strike("file affinities/c/0/1/1/1", "torn"), predicts=True),
        Point(
            "predict: killed before the mark",
            Strike("mark predict", "before", block=MIDDLE),
            store="mongo",
            predicts=True,
        ),
        Point("predict: killed after the mark", Strike("mark predict", "after", block=MIDDLE), predicts=True),
        Point(
            "predict: worker killed after the write",
            Strike("process predict", "after", block=MIDDLE),
            "dask",
            first=DONE,
            predicts=True,
        ),
        Point(
            "predict: driver killed after the mark",
            Strike("mark predict", "after", block=MIDDLE),
            "dask",
            "mongo",
            predicts=True,
        ),
    ]


def failing_blocks() -> list[Point]:
    """Blocks that raise, or that kill whoever processes them."""
    poison, again = Strike("process edges", "before", "raise", MIDDLE, times=3), ("--redo-failed",)
    return [
        Point("a block raises twice", Strike("process edges", "before", "raise", MIDDLE, times=2), first=DONE),
        Point("a block raises three times", poison, first=FAILED, again=again),
        Point("a block raises three times", poison, "dask", "mongo", FAILED, again=again),
        Point(
            "a block kills four workers",
            Strike("process edges", "before", "kill", MIDDLE, times=4),
            "dask",
            first=FAILED,
            again=again,
        ),
        Point("every block raises", Strike("process edges", "before", "raise", times=999), first=FAILED, again=again),
    ]


def two_drivers() -> list[Point]:
    """A second run of the same volume."""
    held = Strike("process edges", "before", "hold", MIDDLE)
    return [
        Point("a second driver is refused", held, executor, store, DONE, "second_driver", quick=store == "sqlite")
        for executor, store in (("process", "sqlite"), ("dask", "mongo"))
    ]


def in_buckets() -> list[Point]:
    """Volume and output in an object store: in the middle of a PUT, between it and its mark, after the mark."""
    objects = [
        ("predict", "affinities/c/0/1/1/1", 1, "affinities"),
        ("fragments", "fragments/c/1/1/1", 1, "fragments"),
        ("agglomerate", "agglomeration/score/c/0", 1, "the dendrogram"),
        ("segment", "fragments/c/1/1/1", 2, "fragments, renumbered"),
        ("segment", "segments/0.5/c/1/1/1", 1, "segments"),
    ]
    stores = cycle(("sqlite", "mongo"))
    found = []
    for word, key, nth, what in objects:
        for text, moment in (("in the middle of the PUT", "torn"), ("before the PUT is answered", "lost")):
            strike = Strike(f"put {key}", moment, nth=nth)
            is_quick = (what, moment) == ("fragments", "torn")
            predicts = word == "predict"
            found.append(
                _in_bucket(f"{word}: killed {text} of {what}", strike, next(stores), predicts=predicts, quick=is_quick)
            )
    for word in ("predict", *WORDS):
        block = None if word == "agglomerate" else MIDDLE
        for moment in ("before", "after"):
            strike = Strike(f"mark {word}", moment, block=block)
            found.append(
                _in_bucket(f"{word}: killed {moment} the mark", strike, next(stores), predicts=word == "predict")
            )
    return [*found, *metadata_in_buckets(), *workers_at_buckets()]


def metadata_in_buckets() -> list[Point]:
    """The objects that say what the arrays are, and the upload of pieces that boxes leave."""
    names = ("zarr.json", "fragments/zarr.json", "segments/0.5/zarr.json")
    found = [_in_bucket(f"driver killed in the PUT of {name}", Strike(f"put {name}", "torn")) for name in names]
    in_boxes = Strike("substage pieces", "after", nth=2)
    return [
        *found,
        _in_bucket("killed between pieces of the dendrogram", in_boxes, settings=("agglomerate.memory=20KB",)),
    ]


def workers_at_buckets() -> list[Point]:
    """The same with Dask, where the run goes on without the worker that is killed."""
    puts = [("fragments", "fragments/c/2/2/2"), ("segment", "segments/0.3/c/1/1/1")]
    found = [
        _in_bucket(
            f"{word}: worker killed in the middle of the PUT",
            Strike(f"put {key}", "torn"),
            executor="dask",
            first=DONE,
            quick=word == "segment",
        )
        for word, key in puts
    ]
    written = Strike("process segment", "after", block=MIDDLE)
    text = "segment: worker killed between PUT and mark"
    return [*found, _in_bucket(text, written, "mongo", executor="dask", first=DONE)]


def requests_fail() -> list[Point]:
    """Each seventh request is slow, refused, cut off or lost; nobody dies."""
    fails = ("503", "slow", "cut", "lost", "torn", "429")
    return [
        _in_bucket("undisturbed, requests fail", None, executor=executor, first=DONE, fails=fails)
        for executor in ("process", "dask")
    ]


def _in_bucket(where: str, strike: Strike | None, store: str = "sqlite", **more: Any) -> Point:
    return Point(where, strike, store=store, is_in_bucket=True, **more)
