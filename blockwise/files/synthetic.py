"""What the address of a synthetic volume says: `synthetic://7?shape=1024,2048,2048`, and what zarr is told of it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from urllib.parse import parse_qsl

KIND = "synthetic"
MADE = ("affinities", "labels")
METADATA = "zarr.json"
MOST_VOXELS = 1 << 24
"""Along an axis, and the most a seed can be."""
CHUNK_VX = 64
"""What is computed at once where it is not `read` that asks, along each axis."""
OFFSETS = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))
VERSION = 1
"""To be raised with any change of the voxels: they are part of what a result was made from."""
EXAMPLE = "synthetic://7?shape=1024,2048,2048"


@dataclass(frozen=True)
class Described:
    """A volume whose voxels follow from their place and a seed."""

    seed: int
    made: str
    """affinities or labels, which are the truth about the affinities of the same seed."""
    shape: tuple[int, int, int]
    voxel_size: tuple[float, float, float]
    """In nm."""

    @property
    def dtype(self) -> str:
        """Of a voxel."""
        return "uint8" if self.made == "affinities" else "uint64"

    @property
    def chunk(self) -> tuple[int, int, int]:
        """Voxels of a chunk, as zarr is told."""
        z, y, x = (min(CHUNK_VX, size) for size in self.shape)
        return z, y, x

    def metadata(self) -> bytes:
        """The zarr.json of an array (v3) of these voxels."""
        channels = [len(OFFSETS)] if self.made == "affinities" else []
        names = [*(["channel"] if channels else []), "z", "y", "x"]
        said: dict[str, object] = {
            "voxel_size": list(self.voxel_size),
            "offset": [0, 0, 0],
            "units": ["nm"] * 3,
            "axis_names": [f"{name}^" if name == "channel" else name for name in names],
            "types": ["channel" if name == "channel" else "space" for name in names],
            "synthetic": {"seed": self.seed, "version": VERSION},
        }
        if channels:
            said["offsets"] = [list(offset) for offset in OFFSETS]
        described = {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [*channels, *self.shape],
            "data_type": self.dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [*channels, *self.chunk]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": 0,
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
            "dimension_names": names,
            "attributes": said,
        }
        return json.dumps(described).encode()


def described(address: str) -> Described:
    """What `synthetic://SEED[/labels]?shape=Z,Y,X[&voxel_size=Z,Y,X]` says; raises ValueError saying what is wrong."""
    path, _, query = address.partition("://")[2].partition("?")
    seed, slash, made = path.partition("/")
    if not seed.isdecimal() or int(seed) > MOST_VOXELS:
        raise ValueError(f"{KIND}:// is followed by a seed, a whole number up to {MOST_VOXELS}, as in {EXAMPLE}")
    if slash and made not in MADE:
        raise ValueError(
            f"of a synthetic volume there are {' and '.join(MADE)}, as in {KIND}://{seed}/labels?shape=..."
        )
    given = parse_qsl(query, keep_blank_values=True)
    said = dict(given)
    unknown = [key for key in said if key not in ("shape", "voxel_size")]
    if unknown or len(said) < len(given) or "shape" not in said or "#" in address:
        raise ValueError(f"a synthetic volume is told its shape, once, and may be told its voxel_size: {EXAMPLE}")
    shape = _three(said["shape"])
    if not all(size.is_integer() and size <= MOST_VOXELS for size in shape):
        raise ValueError(f"the shape of a synthetic volume is three whole numbers up to {MOST_VOXELS}: {EXAMPLE}")
    z, y, x = (int(size) for size in shape)
    return Described(int(seed), made or MADE[0], (z, y, x), _three(said.get("voxel_size", "1,1,1")))


def _three(text: str) -> tuple[float, float, float]:
    try:
        z, y, x = (float(one) for one in text.split(","))
    except ValueError:
        z = y = x = 0.0
    if not all(math.isfinite(one) and one > 0 for one in (z, y, x)):
        raise ValueError(f"shape and voxel_size are three numbers above 0, along z, y, x: {EXAMPLE}")
    return z, y, x
