"""Neuroglancer's precomputed format: a pyramid of segments through tensorstore, and a mesh for each through zmesh."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from blockwise.arrays.durable import flush
from blockwise.arrays.info import Info
from blockwise.arrays.pyramid import Level, pyramid_block, pyramid_chunks
from blockwise.arrays.units import factor
from blockwise.arrays.volume import Volume, read
from blockwise.errors import BadInput
from blockwise.files.whole import write_text
from blockwise.grid import Block, Grid, Voxels, as_voxels, unpack
from blockwise.stage import Stage
from blockwise.stages.tables import MESHED, NODE
from blockwise.store.base import Store
from contraband.volumes.export.images import Image

MESHES = "mesh"
OFF_GRID = 1e-3
"""Of a voxel: so far from a whole number of voxels the volume may begin."""


def check_installed() -> None:
    """Raise BadInput unless tensorstore and zmesh can be imported."""
    for name in ("tensorstore", "zmesh"):
        try:
            __import__(name)
        except ImportError:
            todo = 'pip install "contraband[export]"'
            raise BadInput(name, "is not installed, and precomputed segments need it", todo=todo) from None


class IntoPrecomputed(Stage):
    """What the stages have in common that write into a precomputed volume."""

    needs = ()

    origin: Volume
    """What the pyramid is made from."""
    origin_made: str
    """The fingerprint of the stage that made it."""
    source: Volume
    """What is read: a level of the pyramid, under the numbers that segments have in the volume."""
    target: Path
    """The folder of the whole volume."""
    shape: Voxels
    block: Voxels
    resolution: tuple[float, float, float]
    """Nanometres of a voxel of `source` along z, y, x."""

    def grid(self) -> Grid:
        return Grid(self.name, self.shape, self.block)

    def inputs(self) -> tuple[Volume, ...]:
        return (self.origin,)

    def parameters(self) -> dict[str, object]:
        return {key: value for key, value in super().parameters().items() if key != "target"}


class WriteScale(IntoPrecomputed):
    """Copy one level of a pyramid into the volume; a block writes whole chunks."""

    title: str
    place: Voxels
    """Where its first voxel lies, in voxels of the level."""

    @property
    def name(self) -> str:  # type: ignore[override]
        """The title."""
        return self.title

    def prepare(self, store: Store) -> None:
        self._opened(create=True)

    def process(self, block: Block, store: Store) -> None:
        data = read(self.source, block.write_roi).astype(np.uint64, copy=False)
        spans = zip(block.write_roi.begin, block.write_roi.end, self.place, strict=True)
        z, y, x = (slice(low + at, high + at) for low, high, at in spans)
        self._opened(create=False)[x, y, z, 0] = data.transpose()

    def _opened(self, create: bool) -> Any:
        import tensorstore

        scale = {
            "size": list(self.shape[::-1]),
            "encoding": "compressed_segmentation",
            "compressed_segmentation_block_size": [8, 8, 8],
            "chunk_size": list(pyramid_chunks(self.shape)[::-1]),
            "resolution": list(self.resolution[::-1]),
            "voxel_offset": list(self.place[::-1]),
        }
        spec = {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": f"{self.target.absolute()}/"},
            "multiscale_metadata": {"data_type": "uint64", "num_channels": 1, "type": "segmentation"},
            "scale_metadata": scale,
        }
        return tensorstore.open(spec, open=True, create=create).result()


class WriteMeshes(IntoPrecomputed):
    """The surface of each segment in the block, closed at the volume's border; pieces of all blocks fit together."""

    name = "export/meshes"

    place: tuple[float, float, float]
    """Nanometres of the corner of the first voxel."""

    def grid(self) -> Grid:
        return Grid(self.name, self.shape, self.block, context_high=(1, 1, 1))

    def process(self, block: Block, store: Store) -> None:
        ids = read(self.source, block.read_roi).astype(np.uint64, copy=False)
        low = [int(begin == 0) for begin in block.read_roi.begin]
        high = [int(end == size) for end, size in zip(block.read_roi.end, self.shape, strict=True)]
        padded = np.pad(ids, list(zip(low, high, strict=True)))
        first = np.array(block.read_roi.begin) - low
        folder = self.target / MESHES
        folder.mkdir(parents=True, exist_ok=True)
        written: dict[int, Path] = {}
        for number, vertices, faces in surfaces(padded, self.resolution):
            corners = vertices + first * np.array(self.resolution) + np.array(self.place)
            written[number] = folder / _piece(number, block.key)
            # Along x, y, z triangles are seen from the other side.
            written[number].write_bytes(packed(corners[:, ::-1], faces[:, ::-1]))
        flush(folder, written.values())
        store.put(MESHED, block.key, np.array(list(written), np.uint64).astype(NODE))

    def finish(self, store: Store) -> None:
        pieces: dict[int, list[str]] = defaultdict(list)
        for key, rows in store.each(MESHED):
            for number in rows["fragment"].tolist():
                pieces[number].append(_piece(number, key))
        folder = self.target / MESHES
        for number, names in pieces.items():
            write_text(folder / f"{number}:0", json.dumps({"fragments": names}))
        write_text(folder / "info", json.dumps({"@type": "neuroglancer_legacy_mesh"}))
        described = json.loads((self.target / "info").read_text(encoding="utf-8"))
        write_text(self.target / "info", json.dumps({**described, "mesh": MESHES}))


def surfaces(ids: np.ndarray, resolution: Sequence[float]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Number, vertices (n, 3) and faces (m, 3) of each object, in nanometres from the array's corner along z, y, x."""
    import zmesh

    mesher = zmesh.Mesher(tuple(float(size) for size in resolution))
    mesher.mesh(ids, close=False)
    for number in sorted(mesher.ids()):
        # Not simplified: what is left out at the border of one block would be missing at that of the next.
        mesh = mesher.get(number, normals=False, reduction_factor=0, voxel_centered=True)
        if len(mesh.faces):
            yield int(number), mesh.vertices.astype(np.float64), mesh.faces
        mesher.erase(number)


def packed(vertices: np.ndarray, faces: np.ndarray) -> bytes:
    """A piece of a mesh as the format has it: how many vertices, these (x, y, z), then triangles."""
    return np.uint32(len(vertices)).tobytes() + vertices.astype("<f4").tobytes() + faces.astype("<u4").tobytes()


def precomputed_stages(made: Path, scratch: Path, image: Image, block: Voxels) -> list[Stage]:
    """The stages that write one segmentation: its pyramid as zarr, then each level, then meshes."""
    levels = list(image.stages(scratch / "levels", scratch, block, "0.5"))
    found = image.described
    resolution, place = _in_nanometres(found)
    stages: list[Stage] = [*levels]
    for number, (level, shrink) in enumerate(zip(placed_levels(found, image.levels), levels, strict=False)):
        step = level.factor
        stages.append(
            WriteScale(
                title=f"export/scale/{number}",
                origin=image.volume,
                origin_made=image.made,
                source=shrink.target,
                target=made,
                shape=level.shape,
                block=pyramid_block(level.shape, block),
                place=as_voxels(round(at / (size * by)) for at, size, by in zip(place, resolution, step, strict=True)),
                resolution=_three(size * by for size, by in zip(resolution, step, strict=True)),
            )
        )
    meshes = WriteMeshes(
        origin=image.volume,
        origin_made=image.made,
        source=levels[0].target,
        target=made,
        shape=found.spatial,
        block=as_voxels(min(step, size) for step, size in zip(block, found.spatial, strict=True)),
        resolution=resolution,
        place=place,
    )
    return [*stages, meshes]


def placed_levels(found: Info, levels: Sequence[Level]) -> list[Level]:
    """The levels up to the first that does not begin at a whole voxel of its own, for which the format has no words."""
    starts = [at / size for at, size in zip(found.offset, found.voxel_size, strict=True)]
    fitting: list[Level] = []
    for level in levels:
        places = [at / by for at, by in zip(starts, level.factor, strict=True)]
        if any(abs(at - round(at)) > OFF_GRID for at in places) and fitting:
            break
        fitting.append(level)
    return fitting


def _in_nanometres(found: Info) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Voxel size and place; where these are counted in voxels, a voxel is taken for a nanometre."""
    ratio = factor(found.units[0], "nm") or 1.0
    return _three(size * ratio for size in found.voxel_size), _three(at * ratio for at in found.offset)


def _three(values: Any) -> tuple[float, float, float]:
    z, y, x = (float(value) for value in values)
    return z, y, x


def _piece(number: int, key: int) -> str:
    """The file of a segment's surface in a block."""
    return f"{number}:0:{'-'.join(map(str, unpack(key)))}"
