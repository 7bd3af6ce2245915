"""MongoDB: several outputs in one database, and each kind of connection that fails told apart from the others."""

from __future__ import annotations

import datetime
import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from itertools import batched
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pymongo
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from funlib.geometry import Roi
from pymongo import monitoring

from blockwise.errors import BadInput
from blockwise.grid import Grid
from blockwise.store import Failure, Record, StageInfo, Store, open_store
from blockwise.store.table import Table
from tests.support.servers import EXTERNAL, MongoServer, free_port, fresh_database, mongo_server

GRID = Grid("fragments", (1, 1, 10), (1, 1, 1))
NUMBERED = Table("numbered", np.dtype(np.int64), "edges")
ROWS = Table("rows", np.dtype(np.int64), "fragments")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that asks nobody who he is."""
    with mongo_server(tmp_path_factory.mktemp("mongo")) as address:
        yield address


def fill(store: Store, blocks: int) -> None:
    """Some of everything that a store keeps."""
    store.put_stage(StageInfo("fragments", "f", {"blocks": blocks}, GRID))
    for key in range(blocks):
        store.put(ROWS, key, np.arange(blocks))
    store.mark("fragments", [Record(key, "f", 1) for key in range(blocks)])


def found(store: Store) -> tuple[int, int, int, list[str]]:
    """How much of it there is."""
    rows = [len(table) for _, table in store.each(ROWS)]
    return store.totals("fragments").done, len(rows), sum(rows), [info.name for info in store.stages()]


def test_two_outputs_in_one_database_do_not_meet(server):
    """Each has its own stages, marks and tables, also when it is opened by the URL that workers get."""
    url = fresh_database(server)
    for identity, blocks in (("one", 3), ("two", 5)):
        with closing(open_store(url, identity)) as store:
            store.claim(identity, f"here:/out/{identity}.zarr")
            fill(store, blocks)
    for identity, blocks in (("one", 3), ("two", 5)):
        with closing(open_store(url, identity)) as store, closing(open_store(store.url)) as of_worker:
            assert found(store) == found(of_worker) == (blocks, blocks, blocks * blocks, ["fragments"])
            assert store.owner() == identity
            assert store.outputs() == {"one": "here:/out/one.zarr", "two": "here:/out/two.zarr"}
    with closing(open_store(url, "two")) as store:
        store.clear("fragments")
        assert found(store) == (0, 0, 0, [])
    with closing(open_store(url, "one")) as store:
        assert found(store) == (3, 3, 9, ["fragments"])


def test_a_database_of_the_version_before_goes_on(server):
    """It has one output, in collections without a prefix; another output in it begins empty, and harms nothing."""
    url = fresh_database(server)
    with closing(open_store(url)) as store:  # as that version did
        store.claim("old")
        fill(store, 4)
    with closing(open_store(url, "new")) as store:
        assert found(store) == (0, 0, 0, [])
        store.claim("new", "here:/out/new.zarr")
        fill(store, 2)
    with closing(open_store(url, "old")) as store:
        assert found(store) == (4, 4, 16, ["fragments"])
        store.claim("old", "here:/out/old.zarr")
        store.mark("fragments", [Record(4, "f", 1)])
        assert store.outputs() == {"old": "here:/out/old.zarr", "new": "here:/out/new.zarr"}
    with closing(open_store(url)) as store:
        assert store.totals("fragments").done == 5


def test_forgetting_one_output_leaves_the_others(server):
    """Nothing of it stays in the database, not even an empty collection."""
    url = fresh_database(server)
    for identity in ("one", "two"):
        with closing(open_store(url, identity)) as store:
            store.claim(identity)
            fill(store, 3)
    with closing(open_store(url, "one")) as store:
        store.forget()
        store.forget()
        assert store.owner() is None
        fill(store, 1)
        store.forget()
    with pymongo.MongoClient(url) as client:
        names = client.get_default_database().list_collection_names()
    assert not [name for name in names if name.startswith("one.")]
    with closing(open_store(url, "two")) as store:
        assert found(store) == (3, 3, 9, ["fragments"])
        assert store.outputs() == {"two": ""}


def test_a_store_for_one_output_cannot_be_claimed_for_another(server):
    """Whoever does so has mixed up two runs."""
    with (
        closing(open_store(fresh_database(server), "one")) as store,
        pytest.raises(BadInput, match="another output"),
    ):
        store.claim("two")


@pytest.mark.parametrize(
    "password", ["p@ss", "100%", "a/b", "a:b", "a?b@c", "a#b@c", "a b@c", "p@ss?x=y", "%zz", "[x]@y", "27017/x"]
)
def test_a_password_that_must_be_encoded_is_hinted_at_and_not_shown(password):
    """Each character that ends a part of a URL; the line says how it is written."""
    with pytest.raises(BadInput, match="percent-encode") as caught:
        open_store(f"mongodb://anna:{password}@127.0.0.1:1/db?retryWrites=true")
    assert password not in str(caught.value)
    assert "anna" not in str(caught.value)


def refused(url: str) -> str:
    """The line of a store that cannot be used."""
    begin = time.monotonic()
    with pytest.raises(BadInput) as caught, closing(open_store(url, "one")) as store:
        store.check_writable()
    assert time.monotonic() - begin < 20
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


FAULTS = {
    "{server}": "names no database",
    "{server}/?authSource=admin": "names no database",
    "{server}/db?tls=true": "does not speak TLS",
    "{server}/db?replicaSet=rs0": "another replica set.*wanted rs0",
    "{server}/db?w=3": "fewer servers than w=",
    "{server}/d b": "is not a MongoDB URL.*Bad database name",
    "mongodb://no.such.host.invalid/db": "the host no.such.host.invalid is unknown",
    "mongodb+srv://no.such.host.invalid/db": "the host of .*no.such.host.invalid.* is unknown",
    "mongodb://127.0.0.1:{free}/db": "no MongoDB server answers.*refused",
    "mongodb://127.0.0.1:{web}/db": "is no MongoDB server",
    "mongodb://127.0.0.1:99999/db": "is not a MongoDB URL.*[Pp]ort",
    "mongodb:///db": "is not a MongoDB URL",
}


@pytest.mark.skipif(EXTERNAL in os.environ, reason="another server may well be in a replica set")
@pytest.mark.parametrize("url", FAULTS)
def test_each_fault_of_a_connection_has_its_own_line(url, server, web_port):
    """What is missing or wrong is named, within some seconds."""
    assert re.search(FAULTS[url], refused(url.format(server=server, free=free_port(), web=web_port)))


@pytest.fixture(scope="module")
def web_port() -> Iterator[int]:
    """A port on which a web server answers."""
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as web:
        Thread(target=web.serve_forever, daemon=True).start()
        yield web.server_port
        web.shutdown()


def test_an_option_that_is_not_known_is_said_and_left_out(server, caplog):
    """pymongo only warns of it; the connection is made."""
    open_store(fresh_database(server) + "?nosuch=1").close()
    assert "Unknown option: nosuch" in caplog.text


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Host and port of a server with two users: `writer` may write to db, `reader` may read it; passwords `secret`."""
    folder = tmp_path_factory.mktemp("guarded")
    server = MongoServer(folder)
    server.start()
    with pymongo.MongoClient(server.address) as client:
        for user, role in (("writer", "readWrite"), ("reader", "read")):
            client["db"].command("createUser", user, pwd="secret", roles=[{"role": role, "db": "db"}])
    server.stop()
    server.options = ("--auth",)
    server.start()
    yield server.address.removeprefix("mongodb://")
    server.stop()


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ("reader:secret@", "the user may not write"),
        ("writer:wrong-secret@", "does not know this user with this password"),
        ("nobody:secret@", "does not know this user with this password"),
        ("", "wants a user"),
    ],
)
def test_users_that_may_not_write_are_told_apart(guarded, user, words):
    """One that may only read, one that is not known, and none at all."""
    assert words in refused(f"mongodb://{user}{guarded}/db")


def test_a_user_that_may_write_is_let_in_and_one_that_may_read_sees_it(guarded):
    """What one writes, the other reads: `status` needs no more."""
    with closing(open_store(f"mongodb://writer:secret@{guarded}/db", "one")) as store:
        store.check_writable()
        store.claim("one")
        fill(store, 2)
    with closing(open_store(f"mongodb://reader:secret@{guarded}/db", "one")) as store:
        assert found(store) == (2, 2, 4, ["fragments"])


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server that speaks TLS only, and the certificate that it shows."""
    folder = tmp_path_factory.mktemp("encrypted")
    certificate, key = signed_by_itself(folder)
    server = MongoServer(folder, "--tls-cert-file", str(certificate), "--tls-key-file", str(key))
    server.start()
    yield server.address, certificate
    server.stop()


@pytest.mark.parametrize(
    ("options", "words"),
    [("", "wants TLS"), ("?tls=true", "certificate of .* is not trusted"), ("?tls=true&tlsCAFile=/no/such", "no/such")],
)
def test_faults_of_an_encrypted_connection_are_told_apart(encrypted, options, words):
    """TLS left out, a certificate of nobody known, and a file that is not there."""
    assert re.search(words, refused(f"{encrypted[0]}/db{options}"))


def test_an_encrypted_connection_works(encrypted):
    """With the certificate's authority named."""
    address, certificate = encrypted
    with closing(open_store(f"{address}/db?tls=true&tlsCAFile={certificate}", "one")) as store:
        store.claim("one")
        assert store.owner() == "one"


def signed_by_itself(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(1))
    made = made.add_extension(address, False).add_extension(x509.BasicConstraints(True, None), True)
    certificate = folder / "certificate.pem"
    certificate.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    secret = folder / "key.pem"
    secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return certificate, secret


BY_INDEX = {"IXSCAN", "IDHACK", "EXPRESS_IXSCAN", "EXPRESS_CLUSTERED_IXSCAN"}
"""Steps of a plan that look documents up by an index."""


class Commands(monitoring.CommandListener):
    """What clients that are made after it was registered ask of their servers, while `told` is a list."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] | None = None
        self.open_cursors: set[int] = set()

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if self.told is not None:
            self.told.append(dict(event.command))

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        cursor = event.reply.get("cursor", {}).get("id", 0)
        if cursor:
            self.open_cursors.add(cursor)
        elif event.command_name in ("getMore", "killCursors"):
            self.open_cursors.clear()

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Nothing failed is looked at."""


@pytest.fixture(scope="module")
def commands() -> Commands:
    """A listener, which pymongo keeps for good."""
    listener = Commands()
    monitoring.register(listener)
    return listener


def queries(told: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The commands that look documents up, each as a find."""
    for command in told:
        if "find" in command:
            yield {key: command[key] for key in ("find", "filter", "sort", "projection") if key in command}
        for verb, several in (("delete", "deletes"), ("update", "updates")):
            for one in command.get(several, ()):
                yield {"find": command[verb], "filter": one["q"]}


def steps(plan: object) -> Iterator[str]:
    """The names of all steps in a plan."""
    if isinstance(plan, dict):
        yield from [plan["stage"]] if isinstance(plan.get("stage"), str) else []
        for part in plan.values():
            yield from steps(part)
    elif isinstance(plan, list):
        for part in plan:
            yield from steps(part)


def test_queries_are_answered_by_indexes(server, commands):
    """All that a run asks of what grows with the volume: the server says that it neither sorts nor looks through it.

    The server of the tests takes an index only where a field equals something, so that what lies in a region is found
    by looking at all; of that query it is shown that the index has all that is asked for.
    """
    store = open_store(fresh_database(server))
    fill(store, 150)
    commands.told = []
    store.fail("fragments", [Failure(3, 1, "why")])
    fill(store, 10)
    found(store)
    store.get(ROWS, 3)
    store.done_mask("fragments", GRID, "f")
    store.failures("fragments")
    store.forgive("fragments", [3])
    store.keep("fragments", np.arange(5), "g")
    list(store.each(ROWS, Roi((0, 0, 3), (1, 1, 4))))
    store.clear("fragments")
    asked, commands.told = list(queries(commands.told)), None
    small = ("meta", "stages")
    grow = [one for one in asked if not one["find"].endswith(small)]
    assert {one["find"] for one in grow} == {"marks", "failures", "tables", "parts"}
    indexes = [set(one["key"]) for one in store._db["tables"].list_indexes()]
    in_region = [one for one in grow if "z0" in one["filter"]]
    assert in_region
    assert all({*one["filter"], *one["projection"]} - {"_id"} <= max(indexes, key=len) for one in in_region)
    grow = [one for one in grow if one not in in_region]
    plans = [set(steps(store._db.command("explain", one)["queryPlanner"]["winningPlan"])) for one in grow]
    store.close()
    assert not any("SORT" in plan for plan in plans)
    assert not [one for one, plan in zip(grow, plans, strict=True) if not plan & BY_INDEX]


def test_no_cursor_is_open_while_a_table_is_worked_on(server, commands):
    """Between two tables of `each` there is none that the server could give up for being idle."""
    store = open_store(fresh_database(server))
    blocks = 250  # more than a first answer brings
    for key in range(blocks):
        store.put(ROWS, key, np.arange(3))
    count = 0
    commands.open_cursors.clear()
    for _ in store.each(ROWS):
        assert not commands.open_cursors
        count += 1
    assert count == blocks
    store.close()


def test_64_workers_write_at_once(server):
    """Each with a connection of its own; every table and every mark is there afterwards, and all are whole."""
    url = fresh_database(server)
    workers, blocks, rows = 64, 3, 2_000
    grid = Grid("edges", (1, 1, workers * blocks), (1, 1, 1))

    def work(worker: int) -> None:
        with closing(open_store(url)) as store:
            for block in list(grid.blocks())[worker * blocks : (worker + 1) * blocks]:
                store.put(NUMBERED, block.key, np.full(rows, block.key), block.write_roi)
                store.mark("edges", [Record(block.key, "f", 1)])

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))
    with closing(open_store(url)) as store:
        assert store.done_mask("edges", grid, "f").all()
        tables = dict(store.each(NUMBERED))
    assert len(tables) == grid.count
    assert all(len(table) == rows and (table == key).all() for key, table in tables.items())


def test_marks_of_a_large_run_are_small(server):
    """A block takes less than 100 bytes, 100 MB a million, as the server counts them with their indexes."""
    store = open_store(fresh_database(server))
    blocks, together = 20_000, 100
    grid = Grid("edges", (1, 1, blocks), (1, 1, 1))
    keys = grid.keys().ravel().tolist()
    for some in batched(keys, together):
        store.mark("edges", [Record(key, "f" * 64, 1) for key in some])
    assert store.done_mask("edges", grid, "f" * 64).all()
    said = store._db.command("collStats", "marks")
    assert 0 < said["size"] + said["totalIndexSize"] < 100 * blocks
    store.close()
