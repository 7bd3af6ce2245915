"""Whether a run may write where its settings say: nothing else is overwritten, and every name fits."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from blockwise.errors import BadInput
from blockwise.stage import Stage
from contraband.volumes.settings import VolumeSettings

ROOM = 80
"""Characters of the longest path within an output: arrays, shards, and the names of files being written."""


def check_output(settings: VolumeSettings, line: Iterable[Stage]) -> None:
    """Raise BadInput unless the output and the store can be written, and what the stages write is nobody else's."""
    check_folder(settings.output, "output")
    if settings.output.exists() and not settings.output.is_dir():
        raise BadInput(settings.output, "is not a folder", todo="choose another output")
    prefix = "sqlite:///"
    if settings.store_url.startswith(prefix):
        check_folder(Path(settings.store_url.removeprefix(prefix)), "store")
    given = [settings.affinities, *(value for _, value in settings.volume if value is not None)]
    for stage in line:
        for volume in stage.outputs():
            _check_links(volume.path, settings.output)
            _check_apart(volume.path, [path for path in given if path is not None])


def check_folder(path: Path, key: str) -> None:
    """Raise BadInput unless a file or folder can be made at `path`, with all folders above it."""
    whole = path.absolute()
    nearest = next(parent for parent in whole.parents if _is_there(parent))
    if not nearest.is_dir():
        raise BadInput(path, f"{key} cannot be made", got=f"{nearest} is a file", wanted="a folder")
    most = os.pathconf(nearest, "PC_NAME_MAX")
    long = [part for part in whole.parts if len(os.fsencode(part)) > most - len(".partial")]
    if long or len(os.fsencode(whole)) + ROOM > os.pathconf(nearest, "PC_PATH_MAX"):
        raise BadInput(f"{key}: {path.name[:40]}...", "is too long a name for the file system", todo="shorten it")
    try:
        # Permissions alone do not tell: the disk may be full or read-only, and root may do what the system refuses.
        os.rmdir(tempfile.mkdtemp(prefix=".writable-", dir=path if path.is_dir() else nearest))
    except OSError as error:
        raise BadInput(path, f"{key} cannot be written ({error.strerror})", todo="choose another place") from None


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long
        return False


def _check_links(path: Path, output: Path) -> None:
    """A link would have the run overwrite what lies elsewhere."""
    for part in (path, *path.parents):
        if part.is_symlink():
            raise BadInput(part, "is a symbolic link", got=os.readlink(part), todo="name the folder itself as output")
        if part == output:
            return


def _check_apart(path: Path, given: Iterable[Path]) -> None:
    """What is read must not be what is written."""
    own = path.resolve()
    for other in given:
        place = other.resolve()
        if own == place or own in place.parents or place in own.parents:
            raise BadInput(other, "would be overwritten by the run", got=f"output {path}", todo="choose another output")
