"""Model descriptions of bioimage.io: which file holds a network, and how it is used.

bioimageio.spec reads and checks them, those of older formats too. Nothing is downloaded, and only ONNX weights are
used: TorchScript and state dictionaries would bring code.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from blockwise.errors import BadInput, looked_for, one_line
from blockwise.grid import Voxels, as_voxels
from blockwise.settings import Settings
from contraband.models.engines.packed import file_or_bytes, is_there
from contraband.models.foreign.preprocessing import IN_FLOATS, normalisation
from contraband.models.foreign.settings import NetworkInput, Normalisation, Says

ENDINGS = (".yaml", ".yml", ".zip")
SPACE = "zyx"
LETTERS = {"batch": "b", "channel": "c"}
BOUNDARIES = {"boundary", "boundaries", "membrane", "membranes"}
"""Names of a channel that can mean one thing only."""


class StoredDescription(Settings):
    """What bioimageio.spec read, kept with a prediction: reading it again takes two seconds of CPU time."""

    read: str
    """A digest of the file, and the version of bioimageio.spec."""
    content: dict[str, Any]
    """Of the latest format, as plain data."""


class Description:
    """What a description tells of a network with one input and one output.

    Each method raises BadInput, naming the description, where it does not tell it or the network cannot be used so.
    """

    def __init__(self, path: Path, stored: StoredDescription) -> None:
        content = stored.content
        self.stored = stored
        self._path = path
        self._weights: Mapping[str, Any] = content["weights"]
        self._input = self._only(content["inputs"], "input")
        self._output = self._only(content["outputs"], "output")

    def network(self) -> Path:
        """The file with the weights, which may lie in the archive of the description."""
        for step in self._output["postprocessing"]:
            if step["id"] != "ensure_dtype" or step["kwargs"]["dtype"] not in IN_FLOATS:
                todo = "export the network with it, and name that file"
                raise self._refusal(f"computes {step['id']} after the network, which is not done here", todo=todo)
        onnx = self._weights.get("onnx")
        if onnx is None:
            there = ", ".join(sorted(name for name, entry in self._weights.items() if entry))
            todo = "TorchScript and state dictionaries bring code: export the network to ONNX, and name that file"
            raise self._refusal("has no weights that are used here", got=there, wanted="onnx", todo=todo)
        path, beside = self._file(onnx), onnx.get("external_data")
        if beside is not None and (self._path.suffix == ".zip" or beside["source"] != f"{onnx['source']}.data"):
            todo = f"unpack it, and name its file {path.name}.data"
            raise self._refusal("keeps its weights beside the ONNX file", got=beside["source"], todo=todo)
        for entry in (onnx, beside):
            self._check_whole(entry)
        return path

    def axes(self) -> str:
        """Of the input, as settings name them."""
        axes = "".join(self._letter(axis) for axis in self._input["axes"])
        given_back = "".join(self._letter(axis) for axis in self._output["axes"])
        channel = f"{axes[0]}c{axes[1:]}" if axes[0] == "b" else f"c{axes}"
        if given_back not in ((axes,) if "c" in axes else (axes, channel)):
            raise self._refusal("gives its axes back in another order", got=given_back, wanted=axes)
        for axis in self._input["axes"]:
            if axis["type"] == "channel" and len(axis["channel_names"]) != 1:
                raise self._refusal("wants other channels than one", got=len(axis["channel_names"]))
        return NetworkInput.parse({"axes": axes}, self._path).axes

    def context(self) -> Voxels:
        """What the network takes off on each side and the halo, and as many more as tiles of valid sizes need."""
        return as_voxels(self._reach(letter) for letter in SPACE)

    def stride(self, context: Voxels) -> Voxels:
        """Whole steps of the input for which, with a context on each side, a tile is not smaller than it may be."""
        return as_voxels(self._step(letter, lost) for letter, lost in zip(SPACE, context, strict=True))

    def normalise(self) -> Normalisation:
        """What becomes of raw before the network sees it."""
        return normalisation(self._path, self._input)

    def says(self) -> Says:
        """What its channels are, where their names leave no doubt."""
        named = [axis["channel_names"] for axis in self._output["axes"] if axis["type"] == "channel"]
        names = [str(name).lower() for name in named[0]] if named else []
        if names and names[-1] in BOUNDARIES:
            if len(names) == 1:
                return "boundary"
            if names[:-1] == ["foreground"]:
                return "foreground+boundary"
        todo = "say model.output: affinities (with offsets), boundary, foreground+boundary or embeddings"
        raise self._refusal("does not say what the channels of the network mean", got=names, todo=todo)

    def _only(self, tensors: list[dict[str, Any]], what: str) -> dict[str, Any]:
        if len(tensors) != 1:
            raise self._refusal(f"has more than one {what}", got=[tensor["id"] for tensor in tensors])
        return tensors[0]

    def _letter(self, axis: Mapping[str, Any]) -> str:
        if axis["type"] == "space" and axis["id"] in SPACE:
            return str(axis["id"])
        if axis["type"] not in LETTERS:
            raise self._refusal("has an axis that is not known here", got=axis["id"], wanted="batch, channel, z, y, x")
        return LETTERS[axis["type"]]

    def _reach(self, letter: str) -> int:
        if (sizes := self._sizes(letter)) is None:
            return 0
        out = self._space(self._output, letter)
        size = out["size"]
        follows = isinstance(size, dict) and (size["tensor_id"], size["axis_id"]) == (self._input["id"], letter)
        if not follows or out["scale"] != self._space(self._input, letter)["scale"]:
            raise self._refusal(f"gives other voxels along {letter} than it is shown")
        if size["offset"] > 0 or size["offset"] % 2:
            raise self._refusal(f"does not lose as many voxels on both sides along {letter}", got=size["offset"])
        least, step = sizes
        reach = -size["offset"] // 2 + int(out.get("halo", 0))
        fitting = [lost for lost in range(reach, reach + step) if (2 * lost - least) % step == 0]
        if not fitting:
            raise self._refusal(f"takes no tile with as many voxels on both sides along {letter}", got=[least, step])
        return fitting[0]

    def _step(self, letter: str, lost: int) -> int:
        if (sizes := self._sizes(letter)) is None:
            return 1
        least, step = sizes
        if (2 * lost - least) % step:
            what = f"along {letter} does not go with {self._path}, which is shown {least} voxels and whole times {step}"
            raise BadInput("model.context", what, got=lost, todo="leave it out, or give model.stride also")
        return max(step, -(-(least - 2 * lost) // step) * step)

    def _sizes(self, letter: str) -> tuple[int, int] | None:
        """The least extent and the step of further ones; None for an axis that there is not."""
        if letter not in self.axes():
            return None
        size = self._space(self._input, letter)["size"]
        if not isinstance(size, dict) or "step" not in size:
            todo = "export the network with free axes in space, and describe them by min and step"
            raise self._refusal(f"takes tiles of one size along {letter}, or one that follows another axis", todo=todo)
        return int(size["min"]), int(size["step"])

    def _space(self, tensor: Mapping[str, Any], letter: str) -> dict[str, Any]:
        found: dict[str, Any] = next(axis for axis in tensor["axes"] if axis["id"] == letter)
        return found

    def _file(self, entry: Mapping[str, Any]) -> Path:
        source = str(entry["source"])
        if "://" in source:
            todo = "nothing is downloaded: get the whole package"
            raise self._refusal("has weights at an address", got=source, todo=todo)
        path = (self._path if self._path.suffix == ".zip" else self._path.parent) / source
        if not is_there(path):
            raise self._refusal("names weights that are not there", got=source, todo="get the whole package")
        return path

    def _check_whole(self, entry: Mapping[str, Any] | None) -> None:
        """Raise BadInput if a file is not the one that was described."""
        wanted = entry and entry.get("sha256")
        if not entry or not wanted:
            return
        content = file_or_bytes(self._file(entry))
        data = content if isinstance(content, bytes) else content.read_bytes()
        if (found := hashlib.sha256(data).hexdigest()) != wanted:
            raise self._refusal(f"describes another {entry['source']}", got=found[:12], wanted=str(wanted)[:12])

    def _refusal(self, what: str, **clauses: Any) -> BadInput:
        return BadInput(self._path, what, **clauses)


def read_description(path: Path, kept: object = None) -> Description:
    """The description of a .yaml file, or of the .zip archive that holds one; raises BadInput if it is none.

    kept: what was stored of one, as JSON has it; taken if it is that of just this file.
    """
    if not path.is_file():
        raise BadInput(path, "no such description", todo=f"check the path{looked_for(path)}")
    if find_spec("bioimageio") is None:
        todo = 'pip install "contraband[bioimage]"'
        raise BadInput(path, "needs bioimageio.spec, which is not installed", todo=todo)
    with path.open("rb") as opened:
        read = f"{hashlib.file_digest(opened, 'sha256').hexdigest()} {version('bioimageio.spec')}"
    if isinstance(kept, Mapping) and kept.get("read") == read:
        return Description(path, StoredDescription.parse(kept, path))
    return Description(path, StoredDescription(read=read, content=_read(path, read)))


@lru_cache(maxsize=4)
def _read(path: Path, _digest: str) -> dict[str, Any]:
    """The content of one; that of a file that has changed since is read again."""
    from bioimageio.spec import InvalidDescr, dump_description, load_description
    from loguru import logger

    logger.disable("bioimageio")  # what is wrong is raised, too
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # on what older formats leave open
            found = load_description(path, format_version="latest", perform_io_checks=False)
    except Exception as error:  # archives and YAML have errors of their own, without a common base
        raise BadInput(path, f"is no description of a model ({one_line(str(error))[:160]})") from None
    if isinstance(found, InvalidDescr):
        wrong = found.validation_summary.errors[0]
        place = ".".join(map(str, wrong.loc))
        raise BadInput(path, "is no description of a model", got=one_line(f"{place}: {wrong.msg}")[:160])
    if found.type != "model":
        raise BadInput(path, "describes no model", got=found.type)
    content: dict[str, Any] = dump_description(found, exclude_unset=False)
    return content
