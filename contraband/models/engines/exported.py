"""Networks computed by torch from the files of `torch.export.save`, of which nothing is unpickled."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from blockwise.errors import BadInput, one_line
from contraband.models.engines.base import tells_of_memory
from contraband.models.hardware import choose_device

TODO = "export it: torch.export.save(torch.export.export(network.eval(), (example,)), 'net.pt2')"


class ExportedEngine:
    """An exported program, in float32."""

    def __init__(self, program: torch.nn.Module, device: str) -> None:
        self._program = program
        self._device = device

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, C', ...) float32 of a batch (B, C, ...); raises BadInput for a shape that the network does not take."""
        with torch.inference_mode():
            try:
                found = self._program(torch.from_numpy(np.ascontiguousarray(batch)).to(self._device))
            except Exception as error:  # guards on shapes fail as assertions, and operators in ways of their own
                if tells_of_memory(error):
                    raise
                said = one_line(str(error))[:160]
                raise BadInput("network", f"torch does not take it ({said})", got=list(batch.shape)) from None
        found = found[0] if isinstance(found, tuple | list) else found
        values: NDArray[np.float32] = found.float().contiguous().cpu().numpy()
        return values


def load_exported(path: Path, device: str) -> ExportedEngine:
    """The network of a .pt2 file; raises BadInput if it is none, or if reading it would run code that it brings."""
    place = str(choose_device(device))
    _check_harmless(path)
    try:
        program: Any = torch.export.load(path)
    except Exception as error:  # versions, operators that are not here, broken archives
        raise BadInput(path, f"is no exported network that torch reads ({one_line(str(error))[:160]})") from None
    return ExportedEngine(program.module().to(place), place)


def _check_harmless(path: Path) -> None:
    """Raise BadInput unless all that torch would unpickle of the archive are plain tensors.

    torch reads sample inputs and constants with the full unpickler where the safe one fails, which runs what they say.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(".json") and "/constants/" in name:
                    _check_constants(path, archive.read(name))
                elif not name.endswith(".json") and _is_pickled(archive, name):
                    torch.load(io.BytesIO(archive.read(name)), weights_only=True)
    except BadInput:
        raise
    except Exception as error:  # a broken archive, or a pickle of more than tensors
        raise BadInput(path, f"is no exported network ({type(error).__name__})", todo=TODO) from None


def _is_pickled(archive: zipfile.ZipFile, name: str) -> bool:
    """Whether a member of the archive is itself such an archive, or a bare pickle, as `torch.save` writes both."""
    with archive.open(name) as member:
        return member.read(2) in (b"PK", b"\x80\x02", b"\x80\x04", b"\x80\x05")


def _check_constants(path: Path, config: bytes) -> None:
    for name, payload in json.loads(config)["config"].items():
        if not str(payload["path_name"]).startswith("tensor_") or payload["use_pickle"]:
            raise BadInput(path, f"holds an object that only its own code could read ({name})", todo=TODO)
