"""Files of networks: which program computes them, and what they are known by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from blockwise.errors import BadInput, looked_for
from contraband.models.engines.base import Engine, check_installed, is_installed
from contraband.models.engines.packed import archive_of, file_or_bytes, is_there

READ_BY = {".pt2": ("torch",), ".onnx": ("openvino", "onnxruntime"), ".xml": ("openvino",)}
"""The engines that compute what a file with this ending holds, the one that is taken first."""
_PICKLES = {".pt", ".pth", ".ckpt", ".pkl", ".pickle"}
WANTED = "net.pt2 (torch.export), net.onnx, net.xml (OpenVINO) or a description of bioimage.io, rdf.yaml"


def engine_for(path: Path, wanted: str | None) -> str:
    """The engine that will compute the network of a file; raises BadInput if there is none, or it is not installed.

    wanted: None for the first that is here.
    """
    if not is_there(path):
        raise BadInput(path, "no such network", todo=f"check the path{looked_for(path)}")
    if path.suffix in _PICKLES:
        from contraband.models.engines.exported import TODO

        raise BadInput(path, "is a pickle, which runs what it says when it is read", wanted=WANTED, todo=TODO)
    engines = READ_BY.get(path.suffix)
    if engines is None:
        raise BadInput(path, "is no network", got=path.suffix or "no ending", wanted=WANTED)
    if wanted is not None:
        if wanted not in engines:
            raise BadInput("model.engine", f"{wanted} does not read {path.suffix}", wanted=" or ".join(engines))
        check_installed(wanted, path)
        return wanted
    here = [engine for engine in engines if is_installed(engine)]
    if not here:
        check_installed(engines[0], path)
    return here[0]


def load_engine(path: Path, engine: str, precision: str, device: str) -> Engine:
    """The network of a file, ready to compute; raises BadInput if it is none."""
    if engine == "torch":
        from contraband.models.engines.exported import load_exported

        return load_exported(path, device)
    if engine == "onnxruntime":
        from contraband.models.engines.onnx import load_onnx

        return load_onnx(path)
    from contraband.models.engines.openvino import read_openvino

    return read_openvino(path, precision)


def digest_of(path: Path) -> str:
    """sha256 of a network's file, and of the weights beside it."""
    digest = hashlib.sha256()
    if archive_of(path) is not None:
        digest.update(hashlib.sha256(bytes(file_or_bytes(path))).digest())
        return digest.hexdigest()
    for file in _files(path):
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def _files(path: Path) -> Iterator[Path]:
    """The file; of OpenVINO's two, that with the weights also, and what ONNX calls external data by custom."""
    yield path
    beside = [path.with_suffix(".bin")] if path.suffix == ".xml" else [path.with_name(f"{path.name}.data")]
    yield from (file for file in beside if file.is_file())
