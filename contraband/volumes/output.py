"""The output of a run: every name under it, who holds it, and whether it may be written where the settings say."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blockwise.arrays.opening import open_group
from blockwise.arrays.volume import Volume, info, is_there
from blockwise.errors import BadInput
from blockwise.files.address import check_writable, on_disk
from blockwise.files.locks import only_one
from blockwise.files.whole import PARTIAL, check_folder
from blockwise.stage import Stage
from contraband.volumes.settings import SQLITE, VolumeSettings

_ITSELF = {"zarr.json", ".lock", ".holder.lock"}
"""What makes a folder an output."""


@dataclass(frozen=True)
class Output:
    """The zarr group that a run writes, and the one place that knows every name in it."""

    path: Path

    @property
    def files(self) -> Path:
        """Where everything lies that is no array: in the group, or on a disk for one at an address."""
        return on_disk(self.path)

    def array(self, name: str) -> Volume:
        """One of its arrays, or a group of arrays."""
        return Volume(path=self.path / name)

    @property
    def affinities(self) -> Volume:
        """What predict writes."""
        return self.array("affinities")

    @property
    def embeddings(self) -> Volume:
        """What embed writes."""
        return self.array("embeddings")

    @property
    def foreground(self) -> Volume:
        """What predict also writes, if the network predicts it."""
        return self.array("foreground")

    @property
    def disagreement(self) -> Volume:
        """What predict also writes, if it is wanted of several checkpoints."""
        return self.array("disagreement")

    @property
    def fragments(self) -> Volume:
        """Fragment numbers: provisional until the first `segment`."""
        return self.array("fragments")

    @property
    def dendrogram(self) -> Volume:
        """The group of the arrays fragment, parent and score."""
        return self.array("agglomeration")

    @property
    def corrected(self) -> Volume:
        """The same as `dendrogram`, with the corrections."""
        return self.array("corrected")

    @property
    def absorbed(self) -> Volume:
        """The same as `tree`, without small segments."""
        return self.array("absorbed")

    @property
    def corrections(self) -> Path:
        """Pairs that must or must not be one object: beside the output, as somebody's work outlives it."""
        return self.files.with_suffix(".corrections.csv")

    @property
    def tree(self) -> Volume:
        """The dendrogram of all merges: the corrected one if there are corrections."""
        return self.corrected if self.corrections.exists() else self.dendrogram

    def segments(self, threshold: float) -> Volume:
        """Segment numbers at one threshold."""
        return self.array(f"segments/{format(threshold, 'g')}")

    def all_segments(self) -> list[Volume]:
        """Those that are there, by name."""
        folder = self.path / "segments"
        names = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
        return [self.array(f"segments/{name}") for name in names]

    @property
    def evaluation(self) -> Path:
        """evaluation.json: scores at every threshold."""
        return self.files / "evaluation.json"

    @property
    def report(self) -> Path:
        """report.json: what each stage took."""
        return self.files / "report.json"

    @property
    def dashboard(self) -> Path:
        """Who runs, and where its dashboard is, while a run goes on."""
        return self.files / ".dashboard"

    @property
    def viewer(self) -> Path:
        """Where its viewer is, while there is one."""
        return self.files / ".viewer"

    @property
    def networks(self) -> Path:
        """Networks that OpenVINO has converted, a folder for each network, tile and version."""
        return self.files / "networks"

    @property
    def logs(self) -> Path:
        """What was logged within blocks, by stage."""
        return self.files / "logs"

    def contents(self) -> list[Path]:
        """What lies in it, segmentations one by one; not the files that make it an output, nor its lock."""
        found = []
        for path in sorted(self.path.iterdir()) if self.path.is_dir() else []:
            is_segments = path.name == "segments" and path.is_dir() and not path.is_symlink()
            found += sorted(path.iterdir()) if is_segments else [path]
        return [path for path in found if path.name not in _ITSELF]

    def is_sure(self, path: Path) -> bool:
        """Whether only a run makes something of that name."""
        if path.parent.name == "segments":
            return _is_number(path.name)
        notes = (self.dashboard, self.viewer)
        arrays = (self.fragments, self.dendrogram, self.corrected, self.absorbed)
        sure = (*(array.path for array in arrays), self.evaluation, self.report, self.logs, self.networks, *notes)
        return path in sure or path.name.endswith(PARTIAL)

    def may_predict(self, path: Path) -> bool:
        """Whether a prediction has that name."""
        return path in (self.affinities.path, self.embeddings.path, self.foreground.path, self.disagreement.path)

    def told_by_predictions(self) -> dict[str, dict[str, Any]]:
        """What the arrays of `predict` and `embed` tell of how they were made, by the word of the stage."""
        found = {}
        for stage, volume in (("predict", self.affinities), ("embed", self.embeddings)):
            told = info(volume).attributes if is_there(volume.path) else {}
            found[stage] = {
                key: told[key] for key in ("tiles", "tile", "engine", "processors", "int8") if told.get(key) is not None
            }
        return found

    def leave(self, is_needed: bool) -> None:
        """Give it up, held as it is: the folder goes, or is no output of a run any more if others have files there."""
        if is_needed:
            open_group(self.path, "r+").attrs.pop("run", None)
        for folder in (self.path / "segments", self.path):
            if folder.is_dir() and not {entry.name for entry in folder.iterdir()} - _ITSELF:
                shutil.rmtree(folder)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the output, made if need be; BadInput if another run holds it. A killed run holds nothing."""
        with ExitStack() as stack:
            try:
                self.files.mkdir(parents=True, exist_ok=True)
                stack.enter_context(only_one(self.files / ".lock", self.path, "another run is writing here"))
            except OSError as error:
                raise BadInput(self.files, f"cannot be written ({error})", todo="choose another output") from None
            yield

    @property
    def place(self) -> str:
        """Where it lies, of all machines: the name of this one and its path."""
        return f"{socket.gethostname()}:{self.path.absolute()}"

    def identity(self) -> str | None:
        """The identity of the run that it belongs to; None where there is no output yet, or one of another program."""
        if not is_there(self.path):
            return None
        try:
            attributes: dict[str, Any] = dict(open_group(self.path).attrs)
        except BadInput:
            raise
        except Exception as error:
            raise BadInput(
                self.path, f"exists and is not a zarr group ({type(error).__name__})", todo="choose another output"
            ) from None
        return str(attributes["run"]) if attributes.get("run") else None

    def mark(self, identity: str) -> None:
        """Make the group and write the run's identity into it."""
        try:
            open_group(self.path, "a", zarr_format=3).attrs["run"] = identity
        except OSError as error:
            raise BadInput(self.path, f"cannot be written ({error})", todo="choose another output") from None


def _is_number(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False


def check_output(settings: VolumeSettings, line: Iterable[Stage]) -> None:
    """Raise BadInput unless the output and the store can be written, and what the stages write is nobody else's."""
    check_writable(settings.output, "output")
    if settings.output.exists() and not settings.output.is_dir():
        raise BadInput(settings.output, "is not a folder", todo="choose another output")
    if settings.store_url.startswith(SQLITE):
        check_folder(Path(settings.store_url.removeprefix(SQLITE)), "store")
    given = [settings.affinities, *settings.volume.paths]
    if settings.fragments.foreground is not None:
        given.append(settings.fragments.foreground.volume)
    output = Output(settings.output)
    dendrograms = [output.dendrogram, output.corrected, output.absorbed]
    for volume in [*dendrograms, *(volume for stage in line for volume in stage.outputs())]:
        _check_links(volume.path, settings.output)
        _check_apart(volume.path, [path for path in given if path is not None])


def _check_links(path: Path, output: Path) -> None:
    """A link would have the run overwrite what lies elsewhere."""
    for folder in (path, *path.parents):
        if folder.is_symlink():
            raise BadInput(
                folder, "is a symbolic link", got=os.readlink(folder), todo="name the folder itself as output"
            )
        if folder == output:
            return


def _check_apart(path: Path, given: Iterable[Path]) -> None:
    """What is read must not be what is written."""
    own = path.resolve()
    for other in given:
        place = other.resolve()
        if own == place or own in place.parents or place in own.parents:
            raise BadInput(other, "would be overwritten by the run", got=f"output {path}", todo="choose another output")
