"""Which store belongs to which output, also once the output is gone."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from blockwise.errors import BadInput
from blockwise.files.address import Address
from blockwise.store import open_store
from blockwise.store.base import Store
from contraband.volumes.output import Output
from contraband.volumes.settings import SQLITE, VolumeSettings


@dataclass(frozen=True)
class Belonging:
    """The identity of an output, and what its store holds of others that lay in its place."""

    identity: str
    """Its own, or a new one where there is no output."""
    lost: tuple[str, ...] = ()
    """Those of outputs that are gone from here, and whose progress the store still has."""


def find_belonging(settings: VolumeSettings) -> Belonging:
    """What the output is called in its store; raises BadInput if it is none of a run."""
    output = Output(settings.output)
    identity = output.identity()
    if identity is not None:
        return Belonging(identity)
    lost: tuple[str, ...] = ()
    if is_store_there(settings.store_url):
        with closing(open_store(settings.store_url)) as store:
            lost = tuple(_lost(output, store))
    return Belonging(uuid.uuid4().hex, lost)


@contextmanager
def opened_store(settings: VolumeSettings, identity: str | None = None) -> Iterator[Store]:
    """The store of an output, closed afterwards; None: of whichever output needs no name."""
    store = open_store(settings.store_url, identity)
    try:
        if not store.is_local or settings.cluster.is_local:
            yield store
            return
        raise BadInput(
            "store",
            "SQLite works on one machine only, and the workers are elsewhere",
            got=settings.store_url,
            wanted="mongodb://host/database",
            todo="start MongoDB (see deploy/) and set store",
        )
    finally:
        store.close()


def is_store_there(url: str) -> bool:
    """Whether a store may hold something: a server, or an SQLite file."""
    path = sqlite_path(url)
    return path is None or path.exists()


def sqlite_path(url: str) -> Path | None:
    """The file of an SQLite store; None if it is a server's."""
    return Path(url.removeprefix(SQLITE)) if url.startswith(SQLITE) else None


def _lost(output: Output, store: Store) -> Iterator[str]:
    """Identities in the store of outputs that lay where this one lies, on this machine."""
    for identity, place in store.outputs().items():
        host, _, path = place.partition(":")
        if path and isinstance(output.path, Address):
            if path == str(output.path):
                yield identity
        elif path:
            is_here = os.path.realpath(path) == os.path.realpath(output.path)
            # A database serves many machines, and the same path may be another folder on each.
            if is_here and (store.is_local or host == socket.gethostname()):
                yield identity
        elif store.is_local and _made_all(output, store):
            yield identity


def _made_all(output: Output, store: Store) -> bool:
    """Whether all that a store's stages have written lay in the output: versions before noted no place."""
    made = [Path(path) for info in store.stages() for path in info.outputs]
    return bool(made) and all(path.is_relative_to(output.path.absolute()) for path in made)
