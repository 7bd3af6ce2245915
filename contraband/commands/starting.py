"""The command that begins with an own image: looks at it, writes settings, and segments it without labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blockwise.errors import BadInput
from contraband import interface
from contraband.commands.data import image_options
from contraband.commands.screen import AsJson, emit, place

if TYPE_CHECKING:
    from contraband.volumes.start.proposal import Places, Proposal
    from contraband.volumes.start.source import OpenedImage

KINDS = ("membranes", "nuclei", "cells")
OF_KIND = {
    "membranes": "membranes, {dark} lines about {width:.3g} voxels thick",
    "nuclei": "nuclei, {dark} and round, about {width:.3g} voxels across",
    "cells": "cells, {dark} and of any shape, about {width:.3g} voxels across",
}


def start(
    image: Annotated[
        Path,
        typer.Argument(help="TIFF, PNG, JPEG, a folder of them, npy, npz, HDF5, N5, zarr, OME-Zarr.", callback=place),
    ],
    kind: Annotated[
        str | None, typer.Option(help="What to look for: membranes, nuclei or cells; default: guessed.")
    ] = None,
    called: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="What everything is called; default: as the image.")
    ] = None,
    channel: Annotated[str | None, typer.Option(help="The channel to segment, from 0, or several: 0,2.")] = None,
    name: Annotated[str | None, typer.Option(help="The array in a file that holds several.")] = None,
    axes: Annotated[str | None, typer.Option(help="Stored axes, slowest first, where the file is wrong: zyx.")] = None,
    voxel_size: Annotated[str | None, typer.Option(help="Along z, y, x, where the file does not say it.")] = None,
    units: Annotated[str | None, typer.Option(help="Of the voxel size: nm, um, mm or vx.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    as_json: AsJson = False,
) -> None:
    """Begin with an own image: say what is in it, write its settings, and segment it a first time without labels.

    Writes NAME.yaml, data/NAME.zarr (unless the image is a zarr that can be used where it is), out/NAME.zarr and
    NAME.png into the working folder, and replaces nothing.

    Example: contraband start cells.tif --kind nuclei
    """
    if kind is not None and kind not in KINDS:
        raise BadInput("--kind", "is not known", got=kind, wanted=" or ".join(KINDS))
    options, channels = image_options(channel, name, axes, voxel_size, units)
    from contraband.volumes.start.proposal import Places, propose
    from contraband.volumes.start.source import opened

    with opened(image, options) as found:
        places = Places.called(called or _name_of(image), image, found.in_place, found.is_padded)
        places.check_free(is_imported=found.in_place is None)
        proposal = propose(found, kind, channels)  # type: ignore[arg-type]
    lines = _settings_lines(found, places, proposal)
    for line in _understood(image, found, proposal):
        typer.echo(line)
    if dry_run:
        _print_dry(found, places)
    else:
        _make(image, found, places, lines)
        _print_end(places, found)
    emit(as_json, _told(found, places, proposal))


def _name_of(image: Path) -> str:
    """What everything is called: the file's name up to its first dot, the folder's name."""
    own = image.absolute().name
    name = own.split(".")[0] or own
    plain = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name)
    return plain.lstrip("-") or "image"  # a name that begins with - would be an option


def _understood(image: Path, found: OpenedImage, proposal: Proposal) -> list[str]:
    """What was understood, a line each, with who says it."""
    rules = proposal.found.rules
    flat = "each section by itself (2D)" if rules.dims == 2 else "in 3D"
    if proposal.is_z_guessed:
        flat += f", a section as thick as {1 / proposal.z_scale:.2g} voxels are wide (measured: the file does not say)"
    seen = OF_KIND[rules.kind].format(dark="dark" if rules.dark else "bright", width=2 * rules.radius)
    shape = " x ".join(map(str, found.shape))
    lines = [f"{image}", f"  size        {shape} {found.dtype}: {found.voxels / 1e6:.3g} million voxels"]
    lines += [f"  {what:<10}  {words}" for what, words in found.said.items()]
    if found.images:
        lines.append(f"  images      {_images_in_words(found)}")
    if proposal.channels is not None:
        lines.append(f"  channels    {_channels_in_words(found.channels or 1, proposal.channels)}")
    low, high = proposal.seen
    lines.append(f"  values      {low:.6g} to {high:.6g} in the sections looked at")
    lines.append(f"  looked for  {seen} ({proposal.found.reason})")
    lines.append(f"  how         {flat}")
    if proposal.found.min_voxels > 1:
        lines.append(f"  too small   {_too_small_in_words(proposal)}")
    return [*lines, *(f"  note        {one}" for one in found.remarks)]


def _channels_in_words(count: int, chosen: tuple[int, ...]) -> str:
    """Which channels are segmented, and how to choose others."""
    taken = f"{', '.join(map(str, chosen))} of {count}"
    if count == 1:
        return taken
    return f"{taken}{', averaged' if len(chosen) > 1 else ''} (--channel {chosen[0]} or 0,1 chooses others)"


def _too_small_in_words(proposal: Proposal) -> str:
    """What is too small to be an object, and what becomes of it."""
    what = {"membranes": "as wide as what lies between membranes"}.get(proposal.found.rules.kind, "a quarter as wide")
    shape = "disc" if proposal.dims == 2 else "ball"
    return f"fewer than {proposal.found.min_voxels} voxels, a {shape} {what}: joins a neighbour or is background"


def _images_in_words(found: OpenedImage) -> str:
    """How many images there are, from which to which size, and what becomes of different sizes."""
    count = len(found.images)
    one = found.images[0]
    if not found.is_padded:
        return f"{count}, each {one.height} x {one.width}"
    small, large = (size(found.images, key=lambda image: image.height * image.width) for size in (min, max))
    sizes = f"{count}, from {small.height} x {small.width} to {large.height} x {large.width}"
    return f"{sizes}: smaller ones are padded, and what is no image is masked"


def _settings_lines(found: OpenedImage, places: Places, proposal: Proposal) -> str:
    """The settings file; raises BadInput if they make no sense, before anything is written."""
    from contraband.commands.settings import explained
    from contraband.volumes.settings import VolumeSettings

    data = proposal.data(found, places)
    VolumeSettings.parse(data, places.settings)
    head = f"# Written by contraband start. Run it again: contraband run {places.settings}"
    head += "\n# Every other key: contraband settings volume"
    sections = ["\n".join(explained(VolumeSettings, {key: value})) for key, value in data.items()]
    return "\n\n".join([head, *sections]) + "\n"


def _make(image: Path, found: OpenedImage, places: Places, lines: str) -> None:
    """Import, write the settings, run, draw."""
    from blockwise.files.whole import write_text

    if found.in_place is None:
        interface.import_file(image, places.raw, **found.options)
    if places.mask is not None:
        from contraband.importing.padding import write_mask

        write_mask(places.raw, places.mask)
    write_text(places.settings, lines)
    settings = interface.load_settings(places.settings)
    interface.run(settings)
    from contraband.volumes.figures import slices
    from contraband.volumes.view.picture import panels

    slices(places.picture, panels(settings))


def _print_dry(found: OpenedImage, places: Places) -> None:
    """What would be done."""
    begin = "use it where it is" if found.in_place else f"import it to {places.raw}"
    typer.echo(f"would {begin}, write {places.settings},")
    typer.echo(f"segment it without labels into {places.output}, and draw {places.picture}; nothing was written")


def _print_end(places: Places, found: OpenedImage) -> None:
    """What there is, what nobody knows, and what to do next."""
    import numpy as np

    from blockwise.kernels.graph.agglomeration import cut
    from contraband.volumes.result import open_output

    threshold = 0.5
    objects = np.count_nonzero(np.unique(cut(open_output(places.output).dendrogram, threshold)))
    typer.echo(f"{objects} objects at threshold {threshold:g}; {places.picture} shows the middle section")
    typer.echo("no scores: how good this is nobody can say without some true objects (volume.labels)")
    typer.echo("next:")
    typer.echo(f"  contraband view {places.settings}    look at it, and move the threshold until objects are whole")
    if found.images:
        folder = f"{places.settings.stem}-segments"
        typer.echo(f"  contraband export {places.settings} {folder}    a TIFF for each image, of its size")
    typer.echo(f"  contraband label {places.settings}   click on some objects, and see what a head makes of them")
    typer.echo("  contraband train EXPERIMENT       a network, where that is not enough: see configs/OWN-IMAGES.md")


def _told(found: OpenedImage, places: Places, proposal: Proposal) -> dict[str, Any]:
    """For programs."""
    named = {key: str(getattr(places, key)) for key in ("settings", "raw", "output", "picture")}
    named |= {} if places.mask is None else {"mask": str(places.mask)}
    rules = proposal.found.rules.model_dump(mode="json")
    looked = {"shape": list(found.shape), "dtype": str(found.dtype), "said": found.said}
    return {**named, **looked, "classical": rules, "min_voxels": proposal.found.min_voxels}
