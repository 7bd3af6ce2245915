"""Places of volumes: paths on a disk, and addresses in object stores and on the web, which are used like paths."""

from __future__ import annotations

import re
import shutil
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Self

from blockwise.errors import BadInput
from blockwise.files import objects, synthetic
from blockwise.files.whole import check_folder

KINDS = ("s3", "gs", "az", "http", "https")
_ADDRESS = re.compile(
    r"(synthetic|s3a?|gs|gcs|az|abfss?|https?|s?ftp|ssh|hdfs|file|[A-Za-z][A-Za-z0-9+.-]+(?=://)):(?:/+|$)"
)
_METADATA = ("zarr.json", ".zarray", ".zgroup")
"""One of them is where something of zarr is; so it is found on the web too, where nobody can ask what lies below."""


class Address(Path):
    """An address that is used like a path: joined, compared, sent to workers, asked what is there.

    Nothing on a disk is meant by it: whatever would open it as a file raises BadInput.
    """

    def __str__(self) -> str:
        """As it was typed; a path has lost the second slash."""
        return address_in(super().__str__()) or super().__str__()

    def __fspath__(self) -> str:
        raise BadInput(self, "is an address, and this must be on a local disk", todo="download it first")

    @property
    def is_on_the_web(self) -> bool:
        """Whether it can only be read."""
        return self.parts[0].startswith("http")

    def tag(self) -> str | None:
        """Another one whenever the object has been written; None if there is none."""
        return objects.tag(str(self)) if objects.key_of(str(self)) else None

    @property
    def parents(self) -> Sequence[Self]:
        """Up to the bucket or host."""
        return tuple(self.with_segments(*self.parts[:count]) for count in range(len(self.parts) - 1, 1, -1))

    def absolute(self) -> Self:
        return self

    def resolve(self, strict: bool = False) -> Self:
        return self

    def is_absolute(self) -> bool:
        return True

    def is_symlink(self) -> bool:
        return False

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Whether there is an object, or any below it."""
        return self.is_dir() or self.is_file()

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Whether there is an object."""
        return self.tag() is not None

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether there are objects below it."""
        return any((self / name).is_file() for name in _METADATA) or any(self.iterdir())

    def iterdir(self) -> Generator[Self]:
        return (self / name for name in objects.names_below(str(self)))

    def read_bytes(self) -> bytes:
        data = objects.content(str(self))
        if data is None:
            raise FileNotFoundError(2, "No such object", str(self))
        return data

    def read_text(self, encoding: str | None = None, errors: str | None = None, newline: str | None = None) -> str:
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")


class Synthetic(Address):
    """The address of an array whose voxels are computed when they are read; what describes it is its only file."""

    def __fspath__(self) -> str:
        raise BadInput(self, "is computed when it is read, and is no file", wanted="a path, or another address")

    def tag(self) -> str | None:
        return str(synthetic.VERSION) if self.name == synthetic.METADATA else None

    def iterdir(self) -> Generator[Self]:
        names = () if self.tag() else (synthetic.METADATA,)
        return (self / name for name in names)

    def read_bytes(self) -> bytes:
        if self.tag() is None:
            raise FileNotFoundError(2, "No such object", str(self))
        return self.parent.described.metadata()

    @property
    def described(self) -> synthetic.Described:
        """The array at this address."""
        return synthetic.described(str(self))


def address_in(path: str | Path) -> str | None:
    """The address on the network, as zarr and others take them, that stands in the place of a path; None for a path."""
    text = path if isinstance(path, str) else Path.__str__(path)
    found = _ADDRESS.match(text)
    return f"{found.group(1)}://{text[found.end() :]}" if found else None


def place_of(path: str | Path) -> Path:
    """The path, or the Address that its text is; raises ValueError for one that cannot be used."""
    address = address_in(path)
    if address is None:
        return path if isinstance(path, Path) else Path(path)
    kind, _, rest = address.partition("://")
    if kind == synthetic.KIND:
        synthetic.described(address)
        return Synthetic(f"{kind}:/{rest}")
    host = rest.partition("/")[0]
    # What follows names nothing of the address: it may be a password.
    if "@" in host:
        raise ValueError("an address must not hold a user or password: give them in the environment")
    if "?" in rest or "#" in rest:
        raise ValueError("an address must not hold ? or #, as signed ones do: give credentials in the environment")
    if kind not in KINDS:
        known = ", ".join((*KINDS, synthetic.KIND))
        raise ValueError(f"{address} is an address of a kind that is not known here: {known}")
    if not host:
        raise ValueError(f"{address} names no {'host' if kind.startswith('http') else 'bucket'}")
    return Address(f"{kind}:/{rest}")


def on_disk(path: Path) -> Path:
    """Where that lies on a disk which cannot lie at an address: `s3/bucket/vol.zarr` for `s3://bucket/vol.zarr`.

    It is relative to the working folder, as all paths are. A path that is no address stays as it is.
    """
    return Path(path.parts[0].rstrip(":"), *path.parts[1:]) if isinstance(path, Address) else path


def check_target_on_disk(path: Path) -> None:
    """Raise BadInput for an address, also one whose second slash was lost when it was made a path."""
    if address := address_in(path):
        todo = "name a path, and copy it there once it is whole"
        raise BadInput(address, "is an address, and this is written to a local disk only", todo=todo)


def last_written(path: Path) -> object:
    """Another one whenever the file or object has been written: its time in ns, or its etag; None if there is none."""
    if isinstance(path, Address):
        return path.tag()
    return path.stat().st_mtime_ns if path.is_file() else None


def remove(folder: Path) -> None:
    """Remove a folder, or all objects below an address."""
    if isinstance(folder, Address):
        objects.remove(str(folder))
    else:
        shutil.rmtree(folder)


def upload(folder: Path, target: Address) -> None:
    """Write the files of a folder as objects, those that describe an array last: what is not whole is none."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    for are_last in (False, True):
        chosen = [path for path in files if (path.name in _METADATA) == are_last]
        objects.side_by_side(lambda path: objects.put(str(target / path.relative_to(folder)), path), chosen)


def check_writable(path: Path, key: str) -> None:
    """Raise BadInput unless the folder can be made; for an address, unless objects and what lies `on_disk` can."""
    if isinstance(path, Address):
        if path.is_on_the_web:
            wanted = "a path, s3://, gs:// or az://"
            raise BadInput(path, f"{key} cannot be on the web, which is only read", wanted=wanted)
        trial = str(path.with_name(f".writable-{path.name}"))
        objects.put(trial, b"")
        objects.remove(trial)
    check_folder(on_disk(path), key)
