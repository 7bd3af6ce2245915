"""`contraband view`: raw, affinities, fragments and segments of a run in the browser, read as they are looked at."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import typer
import zarr

from blockwise.arrays.info import Info
from blockwise.arrays.volume import Volume, info, open_array
from blockwise.errors import BadInput
from contraband.volumes.output import Output

IMAGES = ("raw", "affinities")
UNITS = {"nm": "nm", "um": "um", "µm": "um", "mm": "mm", "vx": ""}
MESH_VOXELS = 1 << 26
"""Surfaces of segments need the whole volume in memory; larger volumes are shown without them."""

COLOURS = """void main() {
  emitRGB(vec3(toNormalized(getDataValue(0)), toNormalized(getDataValue(1)), toNormalized(getDataValue(2))));
}"""


def view(output: Path, sources: Mapping[str, Path], bind: str = "127.0.0.1", port: int = 0) -> None:
    """Serve the volumes until interrupted; says where. Raises BadInput if there is none, or no neuroglancer.

    output: the group a run writes. sources: further volumes by name, such as raw and labels.
    """
    viewer = open_viewer(find_layers(output, sources), bind, port)
    typer.echo(f"{viewer.get_viewer_url()}  (Ctrl-C ends)")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        close_viewer()


def find_layers(output: Path, sources: Mapping[str, Path]) -> dict[str, Volume]:
    """The volumes that exist, by name, those to be shown below first; raises BadInput if there is none."""
    made = Output(output)
    own = [made.affinities.path, made.fragments.path, *(segments.path for segments in made.all_segments())]
    named = {"raw": sources.get("raw"), **{str(path.relative_to(output)): path for path in own}, **sources}
    found = {name: Volume(path=path) for name, path in named.items() if path is not None and path.exists()}
    if not found:
        raise BadInput(output, "nothing to show yet", wanted=", ".join(named), todo="run the volume first")
    return found


def open_viewer(layers: Mapping[str, Volume], bind: str, port: int) -> Any:
    """A neuroglancer viewer on a server of its own; raises BadInput if it cannot be had."""
    try:
        import neuroglancer
        import neuroglancer.server
    except ImportError:
        raise BadInput(
            "view", "neuroglancer is not installed", todo='install the extra: pip install "contraband[view]"'
        ) from None
    neuroglancer.server.stop()
    neuroglancer.set_server_bind_address(bind, port)
    try:
        viewer = neuroglancer.Viewer()
    except OSError as error:
        raise BadInput("--port", f"cannot listen on {bind}:{port} ({error.strerror})", todo="use --port 0") from None
    with viewer.txn() as state:
        for name, volume in layers.items():
            source = local_volume(volume, name in IMAGES)
            if name not in IMAGES:
                state.layers.append(name=name, layer=neuroglancer.SegmentationLayer(source=source))
            elif info(volume).channels in (None, 1, 2):
                state.layers.append(name=name, layer=neuroglancer.ImageLayer(source=source))
            else:
                state.layers.append(name=name, layer=neuroglancer.ImageLayer(source=source, shader=COLOURS))
        state.display_dimensions = ["x", "y", "z"]  # else the first axis, z, would run from left to right
        # Ids cover what is below them; the last segmentation is what people come for.
        for layer in list(state.layers)[:-1]:
            layer.visible = layer.name == "raw"
    return viewer


def close_viewer() -> None:
    """Stop the server."""
    import neuroglancer.server

    neuroglancer.server.stop()


def local_volume(volume: Volume, is_image: bool) -> Any:
    """A volume as neuroglancer asks for it, piece by piece, at its place and with its voxel size."""
    found = info(volume)
    return served(LazyArray(volume, found, is_image), found, is_image)


def served(array: Any, found: Info, is_image: bool) -> Any:
    """Anything with shape, type and slices, (z, y, x) or (channel, z, y, x), at the place of a volume."""
    import neuroglancer
    from neuroglancer.local_volume import MeshesNotSupportedForVolume

    class Served(neuroglancer.LocalVolume):
        def get_object_mesh(self, object_id: int) -> bytes:
            if np.prod(self.shape) > MESH_VOXELS:
                raise MeshesNotSupportedForVolume
            mesh: bytes = super().get_object_mesh(object_id)
            return mesh

    extra = len(array.shape) - 3
    space = neuroglancer.CoordinateSpace(
        names=["c^"] * extra + ["z", "y", "x"],
        units=[""] * extra + [UNITS.get(unit, "") for unit in found.units],
        scales=[1] * extra + list(found.voxel_size),
    )
    return Served(
        array,
        space,
        volume_type="image" if is_image else "segmentation",
        voxel_offset=[0] * extra + [round(at / size) for at, size in zip(found.offset, found.voxel_size, strict=True)],
    )


class LazyArray:
    """A zarr array of which only what is asked for is read."""

    def __init__(self, volume: Volume, found: Info, is_image: bool) -> None:
        self.array: zarr.Array[Any] = open_array(volume)
        self.shape = found.shape
        kind = "float32" if found.dtype.kind == "f" else found.dtype.name
        if not is_image and found.dtype.kind in "ifb":
            kind = "uint64"
        self.dtype = np.dtype("uint8" if kind == "bool" else kind)

    def __getitem__(self, region: tuple[slice, ...]) -> np.ndarray:
        """The voxels of one piece."""
        return np.asarray(self.array[region]).astype(self.dtype, copy=False)

    def transpose(self) -> np.ndarray:
        """Everything, with the axes turned round, for surfaces."""
        return self[(slice(None),) * len(self.shape)].transpose()
