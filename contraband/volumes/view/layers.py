"""The layers of a run: which arrays there are, how each is served and shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from blockwise.arrays.volume import Volume, info
from blockwise.errors import BadInput
from contraband.volumes.output import Output
from contraband.volumes.settings import VolumeSettings
from contraband.volumes.view.numbers import LiveNumbers
from contraband.volumes.view.pieces import StoredPieces
from contraband.volumes.view.sampling import contrast

IMAGES = ("raw", "affinities", "disagreement")
TRUTH = "labels"
LIVE = "segments"
"""The layer of segments whose threshold can be moved."""

COLOURS = """void main() {
  emitRGB(vec3(toNormalized(getDataValue(0)), toNormalized(getDataValue(1)), toNormalized(getDataValue(2))));
}"""
COLOURS_OF_RAW = """#uicontrol invlerp first(channel=0)
#uicontrol invlerp second(channel=1)
void main() {
  emitRGB(vec3(first(), second(), first()));
}"""
"""Two channels as magenta and green."""
THREE_COLOURS_OF_RAW = """#uicontrol invlerp first(channel=0)
#uicontrol invlerp second(channel=1)
#uicontrol invlerp third(channel=2)
void main() {
  emitRGB(vec3(first(), second(), third()));
}"""
STRETCHED = """#uicontrol invlerp normalized
void main() {
  emitGrayscale(normalized());
}"""


def layers_of(settings: VolumeSettings) -> dict[str, Volume]:
    """The volumes that a run begins with or has made so far; raises BadInput if there is none."""
    given = {"raw": settings.volume.raw, TRUTH: settings.volume.labels, "affinities": settings.affinities}
    return find_layers(settings.output, {name: path for name, path in given.items() if path})


def find_layers(output: Path, sources: Mapping[str, Path]) -> dict[str, Volume]:
    """The volumes that exist, by name, those to be shown below first; raises BadInput if there is none.

    The truth is last: it is compared with, and never taken for a result.
    """
    made = Output(output)
    own = [
        made.affinities.path,
        made.disagreement.path,
        made.fragments.path,
        *(segments.path for segments in made.all_segments()),
    ]
    named = {
        "raw": sources.get("raw"),
        "affinities": sources.get("affinities"),
        **{str(path.relative_to(output)): path for path in own if path.exists()},
        **sources,
    }
    found = {name: Volume(path=path) for name, path in named.items() if path is not None and path.exists()}
    if not found:
        raise BadInput(output, "nothing to show yet", wanted=", ".join(named), todo="run the volume first")
    return found


def chosen_layer(names: list[str], threshold: float) -> str | None:
    """Which of the layers is switched on over the raw image: live segments, else written ones, else what there is."""
    written = f"{LIVE}/{threshold:g}"
    preferred = [LIVE, written, *reversed([one for one in names if one.startswith(f"{LIVE}/")]), "fragments"]
    return next((one for one in (*preferred, "affinities") if one in names), None)


def image_layer(name: str, volume: Volume, source: Any, channels: Sequence[int] = ()) -> Any:
    """How an image is shown: raw stretched between percentiles, the first three affinities as colours.

    channels: those of raw that are shown, of which up to three have a colour; none for the first ones.
    """
    import neuroglancer

    found = info(volume)
    if name == "affinities" and found.channels not in (None, 1, 2):
        return neuroglancer.ImageLayer(source=source.placed(), shader=COLOURS)
    if name == "affinities":
        return neuroglancer.ImageLayer(source=source.placed())
    low, high = contrast(volume)
    coloured = (channels or tuple(range(found.channels or 1)))[:3]
    names = ("first", "second", "third")[: len(coloured)] if len(coloured) > 1 else ("normalized",)
    controls = {one: {"range": [low, high]} for one in names}
    return neuroglancer.ImageLayer(source=source.placed(), shader=_shader(names, coloured), shader_controls=controls)


def _shader(names: Sequence[str], channels: Sequence[int]) -> str:
    """How these channels are shown, by the names of their ranges."""
    if len(channels) == 1:
        return STRETCHED if channels[0] == 0 else STRETCHED.replace("zed\n", f"zed(channel={channels[0]})\n", 1)
    shader = COLOURS_OF_RAW if len(channels) == 2 else THREE_COLOURS_OF_RAW
    for place, (name, channel) in enumerate(zip(names, channels, strict=True)):
        shader = shader.replace(f"{name}(channel={place})", f"{name}(channel={channel})")
    return shader


def side_by_side(names: Sequence[str]) -> Any:
    """XY large, 3D beside it, with all layers in both."""
    import neuroglancer

    plane = neuroglancer.LayerGroupViewer(layers=names, layout="xy", flex=2)
    return neuroglancer.row_layout([plane, neuroglancer.LayerGroupViewer(layers=names, layout="3d", flex=1)])


def stored_volume(volume: Volume, is_image: bool) -> Any:
    """An array as neuroglancer asks for it, piece by piece, at its place and with its voxel size."""
    from contraband.volumes.view.source import PieceSource

    return PieceSource(StoredPieces(volume, is_image), info(volume), is_image)


def live_volume(live: LiveNumbers, fragments: Volume) -> Any:
    """Live segments as neuroglancer asks for them, where their fragments lie."""
    from contraband.volumes.view.source import PieceSource

    # Of cubes of 64 voxels a new threshold would need 64 times what is on the screen.
    return PieceSource(live, info(fragments), is_image=False, is_flat=True)
