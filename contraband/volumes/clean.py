"""Remove an output together with its progress: what the run has made, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from blockwise.arrays.volume import is_there
from blockwise.errors import BadInput, WorkFailed
from blockwise.files.address import Address
from blockwise.store import masked, open_store
from contraband.volumes.belonging import find_belonging, is_store_there, sqlite_path
from contraband.volumes.output import Output
from contraband.volumes.settings import VolumeSettings

_BESIDE = ("", "-wal", "-shm", "-journal", ".lock")
"""Ends of the names of an SQLite store's files."""


@dataclass(frozen=True)
class Remains:
    """What there is of a run."""

    output: Output
    made: tuple[Path, ...]
    """Files and folders of the output that it has made."""
    others: tuple[Path, ...]
    """Those that it has not, and that stay."""
    url: str
    """Its store."""
    identities: tuple[str, ...]
    """Those in the store that go: the output's own, or those of outputs that are gone from its place."""
    note: str = ""
    """Why progress stays that is there."""

    @property
    def is_there(self) -> bool:
        """Whether there is an output, be it empty."""
        return is_there(self.output.path)

    @property
    def is_anything(self) -> bool:
        """Whether there is anything to remove."""
        return bool(self.is_there or self.identities)

    @property
    def lines(self) -> Iterator[str]:
        """What is removed and what stays, for people; nothing if there is nothing."""
        names = ", ".join(str(path.relative_to(self.output.path)) for path in self.made)
        if self.others and self.made:
            yield f"remove from {self.output.path}: {names}"
        elif self.is_there:
            yield f"remove {self.output.path}: {names or 'empty'}"
        for path in self.others:
            yield f"keep {path}: the run did not make it"
        if self.identities:
            yield f"remove progress: {self.place}"
        if self.note:
            yield self.note

    @property
    def place(self) -> str:
        """The store as people are told of it."""
        path = sqlite_path(self.url)
        return str(path) if path else f"that of this output in {masked(self.url)}"


def remains(settings: VolumeSettings) -> Remains:
    """Look at what is there, without a change; raises BadInput if the output was not made by a run."""
    output = Output(settings.output)
    if isinstance(output.path, Address):
        todo = f"remove it with the programs of its store, then {output.files}* here"
        raise BadInput(output.path, "is an address, and clean removes files on a local disk", todo=todo)
    url = settings.store_url
    belonging = find_belonging(settings)
    if is_there(output.path) and output.identity() is None and not belonging.lost:
        raise BadInput(output.path, "was not made by a run", todo="remove it by hand if it is not needed")
    known = (belonging.identity, *belonging.lost)
    identities: tuple[str, ...] = ()
    written: set[Path] = set()
    note = ""
    if is_store_there(url):
        for identity in known:
            with closing(open_store(url, identity)) as store:
                owner = store.owner()
                if owner == identity:
                    identities += (identity,)
                    written |= {Path(path) for info in store.stages() for path in info.outputs}
                elif owner is not None and owner not in known:
                    note = f"keep {masked(url)}: it belongs to another output ({store.outputs().get(owner) or owner})"
    made, others = _sorted_out(output, settings, written)
    return Remains(output, made, others, url, identities, note)


def _sorted_out(
    output: Output, settings: VolumeSettings, written: set[Path]
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """What lies in the output: made by the run, or not. written: what the store says that its stages wrote."""
    foreground = settings.fragments.foreground
    given: list[Path | None] = [*settings.volume.paths, settings.affinities]
    given += [foreground.volume] if foreground else []
    given += [*settings.model.checkpoints, settings.model.head, settings.model.network] if settings.model else []
    inputs = [path.resolve() for path in given if path is not None]
    made: list[Path] = []
    others: list[Path] = []
    for path in output.contents():
        own = path.resolve()
        is_input = any(own == other or own in other.parents for other in inputs)
        is_made = output.is_sure(path) or path.absolute() in written or (settings.model and output.may_predict(path))
        (made if is_made and not is_input and not path.is_symlink() else others).append(path)
    return tuple(made), tuple(others)


def clean(what: Remains) -> None:
    """Remove it; raises BadInput if a run holds the output, WorkFailed if something cannot be removed.

    The progress goes first: whatever happens in between, nothing is taken for done that is not there.
    """
    with ExitStack() as stack:
        if what.output.path.is_dir():
            stack.enter_context(what.output.held())
        for identity in what.identities:
            with closing(open_store(what.url, identity)) as store:
                store.forget()
        path = sqlite_path(what.url)
        try:
            if path and what.identities:
                for end in _BESIDE:
                    _remove(path.with_name(path.name + end))
            for made in what.made:
                _remove(made)
            what.output.leave(bool(what.others))
        except OSError as error:
            raise WorkFailed(f"{error.filename or what.output.path}: cannot be removed ({error.strerror})") from error


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
