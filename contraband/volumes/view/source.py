"""Pieces as a source of neuroglancer, which must be installed to import this."""

from __future__ import annotations

from math import floor
from typing import Any

import neuroglancer
import numpy as np
from neuroglancer.chunks import encode_npz
from neuroglancer.local_volume import InvalidObjectIdForMesh, MeshesNotSupportedForVolume

from blockwise.arrays.info import Info
from contraband.volumes.view.pieces import Pieces
from contraband.volumes.view.surfaces import surface

UNITS = {"nm": "nm", "um": "um", "µm": "um", "mm": "mm", "vx": ""}
NO_DISTANCE = 1e-4  # of a voxel: what rounding makes of sizes and places that are no binary fractions


def coordinates(found: Info, extra: int = 0) -> Any:
    """The axes of an array as neuroglancer knows them; extra: how many of channels stand before those of space."""
    return neuroglancer.CoordinateSpace(
        names=["c^"] * extra + ["z", "y", "x"],
        units=[""] * extra + [UNITS.get(unit, "") for unit in found.units],
        scales=[1] * extra + list(found.voxel_size),
    )


def first_voxel(found: Info) -> list[float]:
    """Where the array begins along z, y, x, in its voxels: no whole numbers where it lies between those of others."""
    exact = [at / size for at, size in zip(found.offset, found.voxel_size, strict=True)]
    return [round(at) if abs(at - round(at)) < NO_DISTANCE else at for at in exact]


class PieceSource(neuroglancer.LocalVolume):
    """Served piece by piece, at its place; objects have surfaces, made from the blocks of the one asked for."""

    def __init__(self, pieces: Pieces, found: Info, is_image: bool, is_flat: bool = False) -> None:
        """found: where it lies, and how large its voxels are. is_flat: in planes, to be renewed fast; else in cubes."""
        extra = len(pieces.shape) - 3
        self.pieces = pieces
        self.found = found
        self.begin = [0] * extra + first_voxel(found)
        super().__init__(
            pieces,
            coordinates(found, extra),
            volume_type="image" if is_image else "segmentation",
            voxel_offset=[floor(at) for at in self.begin],
            max_downsampling=pieces.coarsest,
            chunk_layout="flat" if is_flat else "isotropic",
        )

    def placed(self) -> Any:
        """Itself as the source of a layer; a source counts whole voxels, so the layer moves it by what is left."""
        left = [at - floor(at) for at in self.begin]
        if not any(left):
            return self
        matrix = [[float(row == column) for column in range(len(left))] + [by] for row, by in enumerate(left)]
        moved = neuroglancer.CoordinateSpaceTransform(output_dimensions=self.dimensions, matrix=matrix)
        return neuroglancer.LayerDataSource(url=self, transform=moved)

    def get_encoded_subvolume(
        self, data_format: str, start: np.ndarray, end: np.ndarray, scale_key: str
    ) -> tuple[bytes, str]:
        """One piece; ValueError, which the server answers with 400, if there is none."""
        factor = tuple(int(by) for by in scale_key.split(","))
        shape = [-(-size // by) for size, by in zip(self.shape, factor, strict=True)]
        if data_format != "npz" or min(factor) < 1 or (start < 0).any() or (end < start).any() or (end > shape).any():
            raise ValueError("no such piece")
        packed: bytes = encode_npz(self.pieces.piece(start, end, factor))
        return packed, "application/octet-stream"

    def get_object_mesh(self, object_id: int) -> bytes:
        """The surface of an object; the server knows what to answer where there is none."""
        if self.volume_type == "image" or len(self.shape) != 3:
            raise MeshesNotSupportedForVolume
        if not 0 < object_id <= np.prod(self.shape):
            raise InvalidObjectIdForMesh
        # A fragment, and so a segment, is called by its first voxel, counted from 1.
        inside = [int(at) for at in np.unravel_index(object_id - 1, self.shape)]
        mesh = surface(self.pieces.piece, self.shape, object_id, inside, self.dimensions.scales)
        if len(mesh) == 4:
            raise InvalidObjectIdForMesh
        return mesh
