"""A file is whole or not there, and what the system refuses names it."""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from blockwise.files.whole import write_whole
from contraband.volumes.figures import slices


@contextmanager
def small_files(most: int) -> Iterator[None]:
    """No file may have more bytes, as on a disk that fills up while one is written."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


WRITERS = {
    "bytes": lambda path: write_whole(path, lambda file: file.write(bytes(5000))),
    "a picture": lambda path: slices(path, {"a": np.arange(64.0).reshape(8, 8)}),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("was_there", [False, True])
def test_a_file_that_cannot_be_written_to_its_end_leaves_nothing(name: str, was_there: bool, tmp_path: Path) -> None:
    """Neither half of it nor another file, and the one before stays; the error says which file it was."""
    path = tmp_path / "a.png"
    if was_there:
        path.write_bytes(b"before")
    with small_files(1000), pytest.raises(OSError, match="File too large") as caught:
        WRITERS[name](path)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    assert [one.name for one in tmp_path.iterdir()] == (["a.png"] if was_there else [])
    assert not was_there or path.read_bytes() == b"before"
