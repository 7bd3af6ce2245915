"""Whether a run may write where its settings say: nothing else is overwritten, and every name fits."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from blockwise.errors import BadInput
from blockwise.files import check_folder
from blockwise.stage import Stage
from contraband.volumes.settings import VolumeSettings


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
