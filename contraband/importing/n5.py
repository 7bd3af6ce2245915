"""N5 datasets, read block by block; zarr 3 no longer reads this format itself."""

from __future__ import annotations

import bz2
import itertools
import json
import lzma
import math
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numcodecs import LZ4, Blosc, Zstd

from blockwise.errors import BadInput

KINDS = {"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64"}
FRAME = b"LZ4Block"


def _unpack_lz4(data: bytes) -> bytes:
    """The stream of lz4-java: frames of a packed or plain piece each, the last one empty."""
    pieces: list[bytes] = []
    at = 0
    while at < len(data):
        token, packed, plain, _ = struct.unpack_from("<Biii", data, at + len(FRAME))
        if data[at : at + len(FRAME)] != FRAME:
            raise ValueError("no LZ4 frame")
        at += len(FRAME) + 13
        piece = data[at : at + packed]
        at += packed
        if plain:
            pieces.append(LZ4().decode(struct.pack("<i", plain) + piece) if token & 0xF0 == 0x20 else piece)
    return b"".join(pieces)


CODECS: dict[str, Callable[[bytes], Any]] = {
    "raw": lambda data: data,
    "gzip": lambda data: zlib.decompress(data, wbits=zlib.MAX_WBITS | 32),
    "bzip2": bz2.decompress,
    "lz4": _unpack_lz4,
    "xz": lzma.decompress,
    "zstd": lambda data: Zstd().decode(data),
    "blosc": lambda data: Blosc().decode(data),
}
DAMAGES = (ValueError, RuntimeError, EOFError, OSError, struct.error, zlib.error, lzma.LZMAError)


class N5Array:
    """One dataset of an N5 container, in C order: N5 itself lists axes the other way round.

    Raises BadInput if its description cannot be read or its blocks are packed in an unknown way.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.attributes = dict(json.loads((folder / "attributes.json").read_text(encoding="utf-8")))
            self.shape = tuple(int(size) for size in reversed(self.attributes["dimensions"]))
            self.block = tuple(int(size) for size in reversed(self.attributes["blockSize"]))
            kind = str(self.attributes["dataType"])
            packing = self.attributes.get("compression", self.attributes.get("compressionType", "raw"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(folder, f"is not an N5 dataset ({type(error).__name__})") from None
        codec = packing.get("type") if isinstance(packing, dict) else packing
        if kind not in KINDS or codec not in CODECS or min(self.block, default=0) < 1:
            raise BadInput(
                folder,
                "this kind of N5 is not known here",
                got=f"{kind}, {codec}",
                wanted=f"numbers, packed with {', '.join(CODECS)}",
            )
        if self.attributes.get("isLabelMultiset"):
            todo = "turn it into uint64 labels first, as paintera-convert does"
            raise BadInput(folder, "holds label multisets of Paintera, which are not read here", todo=todo)
        self.dtype = np.dtype(kind)
        self.unpack = CODECS[str(codec)]

    def __getitem__(self, slices: tuple[slice, ...]) -> np.ndarray:
        """The voxels in `slices`, which have begin and end; blocks that are not on disk are 0."""
        begins = [piece.start for piece in slices]
        result = np.zeros([piece.stop - piece.start for piece in slices], self.dtype)
        spans = [
            range(piece.start // step, math.ceil(piece.stop / step))
            for piece, step in zip(slices, self.block, strict=True)
        ]
        for index in itertools.product(*spans):
            data = self.read_block(index)
            if data is None:
                continue
            places = [i * step for i, step in zip(index, self.block, strict=True)]
            into, outof = [], []
            for place, size, piece, begin in zip(places, data.shape, slices, begins, strict=True):
                low = max(place, piece.start)
                high = min(place + size, piece.stop)
                into.append(slice(low - begin, high - begin))
                outof.append(slice(low - place, high - place))
            result[tuple(into)] = data[tuple(outof)]
        return result

    def missing(self, slices: tuple[slice, ...]) -> tuple[int, int]:
        """(blocks without a file, all blocks) of a part."""
        spans = [
            range(piece.start // step, math.ceil(piece.stop / step))
            for piece, step in zip(slices, self.block, strict=True)
        ]
        absent = sum(not self.file_of(index).exists() for index in itertools.product(*spans))
        return absent, math.prod(map(len, spans))

    def file_of(self, index: tuple[int, ...]) -> Path:
        """The file of a block."""
        return self.folder.joinpath(*(str(i) for i in reversed(index)))

    def read_block(self, index: tuple[int, ...]) -> np.ndarray | None:
        """One block, or None if there is no file for it; raises BadInput if the file is damaged."""
        path = self.file_of(index)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            mode, axes = struct.unpack_from(">HH", data)
            if mode not in (0, 1) or axes != len(self.shape):
                raise ValueError(f"mode {mode}, {axes} axes")
            shape = struct.unpack_from(f">{axes}I", data, 4)[::-1]
            plain = self.unpack(data[4 + 4 * axes + 4 * mode :])
            numbers = np.frombuffer(plain, self.dtype.newbyteorder(">"))[: math.prod(shape)]
            if numbers.size < math.prod(shape):
                raise ValueError(f"{numbers.size} of {math.prod(shape)} voxels")
            return numbers.reshape(shape).astype(self.dtype)
        except DAMAGES as error:
            raise BadInput(path, f"damaged N5 block ({error})", todo="copy the file again") from None
