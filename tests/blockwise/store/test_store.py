"""Both stores keep the same promises; each test runs on SQLite and on a server with MongoDB's protocol."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from funlib.geometry import Roi

from blockwise.errors import BadInput
from blockwise.grid import Grid
from blockwise.stages.tables import EDGES
from blockwise.store import Failure, Record, StageInfo, Store, Totals, masked, mongo, open_store
from blockwise.store.table import Entry, Table
from tests.support.paths import ROOT
from tests.support.servers import EXTERNAL, MongoServer, free_port, fresh_database, mongo_server

EDGE = EDGES.dtype
OTHERS = Table("others", EDGE, "edges")
GRID = Grid("fragments", (10, 8, 7), (4, 4, 4))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server for all tests here; each takes a database of its own."""
    with mongo_server(tmp_path_factory.mktemp("mongo")) as address:
        yield address


@pytest.fixture(params=["sqlite", "mongodb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store that does not exist yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/out/vol.db"
    return fresh_database(request.getfixturevalue("server"))


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """An open store."""
    found = open_store(url)
    yield found
    found.close()


def records(keys: list[int], digest: str = "f") -> list[Record]:
    """Records whose voxels are ten times the key."""
    return [Record(key, digest, 10 * key, 0.5, 0.25, 1000 + key) for key in keys]


def edges(count: int, seed: int = 0) -> np.ndarray:
    """A table with that many random edges."""
    random = np.random.default_rng(seed)
    table = np.zeros(count, EDGE)
    for name in EDGE.names or ():
        table[name] = random.integers(0, 2**31, count)
    return table


def info(name: str, digest: str = "f") -> StageInfo:
    """Some stage."""
    return StageInfo(name, digest, {f"{name}.smooth": 0.7, "code version": 1, "list": [1, 2]}, GRID)


def test_a_new_store_is_empty(store):
    """Before anything is written there are no stages, blocks, failures or tables."""
    assert not store.done_mask("fragments", GRID).any()
    assert store.done_mask("fragments", GRID).shape == GRID.counts
    assert store.stages() == store.failures("fragments") == []
    assert store.get(EDGES, 0) is None
    assert len(store.rows(EDGES)) == 0
    assert store.totals("fragments") == Totals()


def test_marked_blocks_are_done_for_every_reader(url, store):
    """A mark is seen by another store with the same URL, at the block's place in the grid."""
    keys = GRID.keys()
    store.mark("fragments", records([int(keys[0, 1, 0]), int(keys[2, 1, 1])]))
    other = open_store(url)
    expected = np.zeros(GRID.counts, bool)
    expected[0, 1, 0] = expected[2, 1, 1] = True
    assert np.array_equal(other.done_mask("fragments", GRID), expected)
    assert not other.done_mask("edges", GRID).any()
    other.close()


def test_a_mask_can_ask_for_a_fingerprint(store):
    """Blocks count as done with the fingerprint of their last mark, and with no other."""
    store.mark("fragments", [*records([0, 1], "old"), *records([2], "new")])
    store.mark("fragments", records([1], "new"))
    line = Grid("fragments", (1, 1, 3), (1, 1, 1))
    assert store.done_mask("fragments", line, "new").ravel().tolist() == [False, True, True]
    assert store.done_mask("fragments", line, "old").ravel().tolist() == [True, False, False]


def test_blocks_keep_their_place_when_the_region_grows(store):
    """Keys are absolute: a larger grid finds the same blocks done, a smaller one leaves out those beyond it."""
    store.mark("fragments", records([int(key) for key in GRID.keys().ravel()]))
    grown = store.done_mask("fragments", replace(GRID, volume=(20, 20, 20)))
    assert grown.sum() == GRID.count
    assert grown[tuple(slice(0, count) for count in GRID.counts)].all()
    assert store.done_mask("fragments", replace(GRID, volume=(4, 4, 4))).all()


def test_kept_blocks_get_another_fingerprint_and_the_others_are_forgotten(url, store):
    """What is kept counts as made with the new one, with its costs; all of it may be asked for again after a crash."""
    store.mark("fragments", [*records([0, 1, 2], "old"), *records([3], "older")])
    store.fail("fragments", [Failure(4, 3, "error")])
    store.mark("edges", records([0, 2], "old"))
    line = Grid("fragments", (1, 1, 5), (1, 1, 1))
    for _ in range(2):
        store.keep("fragments", np.array([0, 1]), "new")
        assert store.done_mask("fragments", line, "new").ravel().tolist() == [True, True, False, False, False]
        assert store.totals("fragments") == Totals(2, 0, 10, 1.0, 0.5, 1001)
    assert store.failures("fragments") == []
    assert store.totals("edges").done == 2
    store.mark("fragments", records([2], "new"))
    store.keep("fragments", np.array([], np.int64), "newest")
    assert store.totals("fragments") == Totals()


def test_marking_twice_counts_once(store):
    """A mark replaces the one before, so that sums stay right when a block runs twice."""
    store.mark("fragments", records([1, 2, 3]))
    store.mark("fragments", records([2, 3]))
    store.mark("fragments", [])
    assert store.totals("fragments") == Totals(3, 0, 60, 1.5, 0.75, 1003)


def test_a_failure_is_forgotten_when_its_block_is_done(store):
    """Failures are listed by key with their last error, until the block is marked."""
    store.fail("fragments", [Failure(5, 1, "first"), Failure(2, 1, "other")])
    store.fail("fragments", [Failure(5, 2, "Traceback\n  ünï")])
    assert store.failures("fragments") == [Failure(2, 1, "other"), Failure(5, 2, "Traceback\n  ünï")]
    store.mark("fragments", records([5]))
    assert store.failures("fragments") == [Failure(2, 1, "other")]
    assert store.totals("fragments").failed == 1


def test_costs_come_by_key(store):
    """What blocks cost comes back exactly, in the order of their keys, those of the range that is asked for only."""
    marked = [Record(key, "f", 10 + key, key / 3, key / 7, 2**40 + key) for key in (9, 2, 5, 7)]
    store.mark("fragments", marked[:3])
    store.mark("fragments", marked[3:])
    store.mark("edges", records([3]))
    found = store.costs("fragments", 2, 9)
    expected = sorted((one for one in marked if one.key < 9), key=lambda one: one.key)
    assert found.tolist() == [
        (one.key, one.voxels, one.wall_seconds, one.cpu_seconds, one.peak_rss_bytes) for one in expected
    ]
    assert len(store.costs("nothing", 0, 100)) == 0


def test_a_forgiven_block_has_not_failed(store):
    """Its failure is forgotten, that of others and of other stages stays."""
    for stage in ("fragments", "edges"):
        store.fail(stage, [Failure(key, 3, "broken") for key in (1, 2)])
    store.forgive("fragments", [1, 7])
    assert [one.key for one in store.failures("fragments")] == [2]
    assert [one.key for one in store.failures("edges")] == [1, 2]


def test_stages_come_back_as_they_were_put(store):
    """Name, fingerprint, ingredients and grid survive; a second put replaces and keeps the order."""
    store.put_stage(info("predict"))
    store.put_stage(info("fragments"))
    store.put_stage(replace(info("predict", "g"), finished=True))
    assert store.stages() == [replace(info("predict", "g"), finished=True), info("fragments")]


def test_clear_forgets_one_stage_only(store):
    """Blocks, failures, tables and settings of the stage are gone, those of others stay."""
    for stage in ("fragments", "edges"):
        store.put_stage(info(stage))
        store.mark(stage, records([1]))
        store.fail(stage, [Failure(2, 1, "x")])
        store.put(Table(f"of {stage}", EDGE, stage), 1, edges(3))
    store.clear("fragments")
    assert [one.name for one in store.stages()] == ["edges"]
    assert (store.totals("fragments").done, store.totals("edges").done) == (0, 1)
    assert (len(store.failures("fragments")), len(store.failures("edges"))) == (0, 1)
    assert store.get(Table("of fragments", EDGE, "fragments"), 1) is None
    assert store.get(Table("of edges", EDGE, "edges"), 1) is not None


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_tables_come_back_bit_by_bit(store, count):
    """Rows and types survive, for empty tables too; tables can be changed by the reader."""
    store.put(EDGES, 0, edges(count))
    found = store.get(EDGES, 0)
    assert found.dtype == EDGE
    assert np.array_equal(found, edges(count))
    found["u"] = 0


def test_a_plain_array_of_any_shape_is_a_table(store):
    """Not only structured rows are kept, also two columns of numbers."""
    pairs = np.arange(12, dtype=np.int32).reshape(6, 2)
    table = Table("pairs", pairs.dtype, "edges")
    store.put(table, 0, pairs)
    assert np.array_equal(store.get(table, 0), pairs)


def test_rows_of_another_type_are_refused(store):
    """A table says what its rows are, and nothing else is taken for them."""
    with pytest.raises(TypeError, match="rows of edges must be"):
        store.put(EDGES, 0, np.zeros(3))
    assert store.get(EDGES, 0) is None


def test_rows_of_nowhere_are_in_no_region(store):
    """Rows without a region are found by key only."""
    store.put(EDGES, 0, edges(2))
    assert len(store.rows(EDGES)) == 2
    assert len(store.rows(EDGES, Roi((0, 0, 0), (10, 8, 7)))) == 0


def test_objects_are_refused(store):
    """A table of Python objects would have to be pickled."""
    with pytest.raises(ValueError, match="Python objects"):
        store.put(Table("bad", np.dtype(object), "edges"), 0, np.array([{}], dtype=object))


def test_a_table_replaces_the_one_before(store):
    """The second table of a block is the only one; another kind is another table."""
    store.put(EDGES, 0, edges(10))
    store.put(OTHERS, 0, edges(2))
    store.put(EDGES, 0, edges(3, seed=1))
    assert np.array_equal(store.rows(EDGES), edges(3, seed=1))
    assert np.array_equal(store.get(OTHERS, 0), edges(2))


def test_tables_come_by_key_and_region(store):
    """All tables in the order of their keys, or those whose write region meets the region asked for."""
    blocks = list(GRID.blocks())
    entries = [Entry(block.key, edges(1 + place), block.write_roi) for place, block in enumerate(blocks)]
    store.put_all(EDGES, entries[::-1])
    assert [key for key, _ in store.each(EDGES)] == sorted(block.key for block in blocks)
    assert [len(table) for _, table in store.each(EDGES)] == list(range(1, len(blocks) + 1))
    region = Roi((4, 0, 0), (1, 4, 5))
    expected = [block.key for block in blocks if block.write_roi.intersects(region)]
    assert [key for key, _ in store.each(EDGES, region)] == expected
    assert 0 < len(expected) < len(blocks)
    assert len(store.rows(EDGES, region)) == sum(1 + blocks.index(one) for one in blocks if one.key in expected)


def test_tables_may_be_written_while_they_are_read(store):
    """A stage that reads tables and writes others of the same block in one pass is fine."""
    blocks = list(GRID.blocks())
    store.put_all(EDGES, [Entry(block.key, edges(2)) for block in blocks])
    for key, table in store.each(EDGES):
        store.put(OTHERS, key, table[:1])
    assert [len(table) for _, table in store.each(OTHERS)] == [1] * len(blocks)


def test_a_large_table_is_replaced_as_a_whole(store, monkeypatch):
    """A table in several pieces is never seen half old and half new, and leaves nothing behind."""
    monkeypatch.setattr(mongo, "PIECE_BYTES", 1000)
    versions = [edges(2000, seed) for seed in range(4)]
    store.put(EDGES, 0, versions[0])

    def write() -> None:
        for version in versions * 5:
            store.put(EDGES, 0, version)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        while not writing.done():
            found = store.get(EDGES, 0)
            assert any(np.array_equal(found, version) for version in versions)
        writing.result()
    store.put(EDGES, 0, edges(1))
    assert len(store.rows(EDGES)) == 1
    if isinstance(store, mongo.MongoStore):
        assert store._db.parts.count_documents({}) == 0


def test_several_threads_share_a_store(store):
    """Workers with several threads write side by side."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda key: store.put(OTHERS, key, edges(5)), range(40)))
        list(pool.map(lambda key: store.mark("fragments", records([key])), range(40)))
    assert store.totals("fragments").done == 40
    assert len(list(store.each(OTHERS))) == 40


def test_a_store_belongs_to_one_output(store):
    """A claim by the same output is fine, one by another is refused and changes nothing."""
    assert store.owner() is None
    store.claim("one")
    store.claim("one")
    with pytest.raises(BadInput, match="another output"):
        store.claim("two")
    assert store.owner() == "one"


WRITER = """
import sys
import numpy as np
from blockwise.store import Record, open_store
from blockwise.store.table import Table
store, first, count = open_store(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
numbers = Table("numbers", np.dtype(int), "fragments")
for key in range(first, first + count):
    store.put(numbers, key, np.arange(key % 50))
    store.mark("fragments", [Record(key, "f", 1)])
    print(key, flush=True)
"""


def writer(url: str, first: int, count: int) -> subprocess.Popen[str]:
    """A process that writes tables and marks, and tells each mark after it returned."""
    command = [sys.executable, "-c", WRITER, url, str(first), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def assert_all_there(store: Store, told: set[int]) -> None:
    """Every mark that was told is there, and each with its table."""
    mask = store.done_mask("fragments", Grid("fragments", (1, 1, 100000), (1, 1, 1))).ravel()
    found = set(np.flatnonzero(mask).tolist())
    assert told <= found
    tables = dict(store.each(Table("numbers", np.dtype(int), "fragments")))
    assert all(len(tables[key]) == key % 50 for key in found)


def test_several_processes_write_at_once(url):
    """No write is lost or refused when processes share a store."""
    processes = [writer(url, 1000 * place, 30) for place in range(3)]
    told = {int(line) for process in processes for line in process.communicate()[0].split()}
    assert all(process.returncode == 0 for process in processes)
    assert len(told) == 90
    store = open_store(url)
    assert_all_there(store, told)
    store.close()


def test_a_mark_survives_the_death_of_its_writer(url):
    """After SIGKILL all marks that had returned are there, with the tables written before them."""
    process = writer(url, 0, 100000)
    assert process.stdout is not None
    told = {int(process.stdout.readline()) for _ in range(50)}
    process.send_signal(signal.SIGKILL)
    told |= {int(line) for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")}
    process.wait()
    store = open_store(url)
    assert_all_there(store, told)
    store.close()


@pytest.mark.skipif(EXTERNAL in os.environ, reason="a server that is not ours is not killed")
def test_a_mark_survives_the_death_of_the_server(tmp_path):
    """After SIGKILL of the server and a restart, all marks that had returned are there, with their tables."""
    server = MongoServer(tmp_path)
    server.start()
    url = fresh_database(server.address)
    process = writer(url, 0, 100000)
    assert process.stdout is not None
    told = {int(process.stdout.readline()) for _ in range(50)}
    server.kill()
    process.kill()
    told |= {int(line) for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")}
    server.start()
    store = open_store(url)
    assert_all_there(store, told)
    store.close()
    server.stop()


def test_opening_writes_nothing(tmp_path):
    """The file and its folder appear with the first write, not before."""
    store = open_store(f"sqlite:///{tmp_path}/out/vol.db")
    assert store.get(EDGES, 0) is None
    assert not (tmp_path / "out").exists()
    store.put_stage(info("fragments"))
    assert (tmp_path / "out" / "vol.db").exists()
    store.close()


def test_a_million_blocks_are_found_done(tmp_path):
    """A store holds the marks of a large run and gives them back at once, each at its place."""
    store = open_store(f"sqlite:///{tmp_path}/vol.db")
    grid = Grid("fragments", (100, 100, 100), (1, 1, 1))
    keys = grid.keys()
    missing = (3, 50, 99)
    store.mark("fragments", [Record(int(key), "f", 1) for key in keys.ravel() if key != keys[missing]])
    done = store.done_mask("fragments", grid, "f")
    assert not done[missing]
    assert done.sum() == grid.count - 1
    store.close()


@pytest.mark.parametrize("schema", ["create table mine (a)", "create table blocks (id); create table stages (name)"])
def test_a_database_of_another_program_is_left_as_it_is(tmp_path, schema):
    """It is refused to be read and to be written, and not a byte of it changes."""
    path = tmp_path / "vol.db"
    other = sqlite3.connect(path)
    other.executescript(schema)
    other.close()
    before = path.read_bytes()
    store = open_store(f"sqlite:///{path}")
    for use in (store.stages, lambda: store.mark("fragments", records([1]))):
        with pytest.raises(BadInput, match="is no store of ours"):
            use()
    store.close()
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["vol.db"]


def test_a_damaged_store_is_called_damaged(tmp_path):
    """What can be done about it is said: it is not the path that is wrong."""
    path = tmp_path / "vol.db"
    store = open_store(f"sqlite:///{path}")
    store.mark("fragments", records(list(range(5000))))
    store.close()
    path.write_bytes(path.read_bytes()[:20_000])
    store = open_store(f"sqlite:///{path}")
    with pytest.raises(BadInput, match="the store is damaged; put a copy in its place, or remove it"):
        store.done_mask("fragments", GRID)
    store.close()


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be one", b"SQLite format 3\0 broken"])
def test_a_file_that_is_no_store_is_refused(tmp_path, content):
    """The error is one line and names the file."""
    path = tmp_path / "vol.db"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"vol\.db") as caught:
        open_store(f"sqlite:///{path}").stages()
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "url", ["vol.db", "mysql://host/db", "sqlite://", "sqlite:///", "mongodb://", "mongodb://host"]
)
def test_a_url_that_makes_no_sense_is_refused(url):
    """Unknown kinds, missing paths and missing database names are bad input."""
    with pytest.raises(BadInput, match="store"):
        open_store(url)


def test_a_server_that_does_not_answer_is_refused_soon_and_discreetly():
    """Within some seconds, without the password in the message."""
    begin = time.monotonic()
    with pytest.raises(BadInput, match="no MongoDB server answers") as caught:
        open_store(f"mongodb://anna:secret@127.0.0.1:{free_port()}/db?retryWrites=false")
    assert time.monotonic() - begin < 8
    assert "secret" not in str(caught.value)
    assert "anna" not in str(caught.value)


def test_credentials_are_masked():
    """Neither user, password nor options are shown, whatever they contain."""
    assert masked("mongodb://a:b/c@d@host:1/db?x=y") == "mongodb://***@host:1/db"
    assert masked("mongodb://host/db") == "mongodb://host/db"
