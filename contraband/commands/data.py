"""Commands that make data: import and demo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blockwise.errors import BadInput
from contraband import interface
from contraband.commands.screen import AsJson, console, emit, place
from contraband.progress import meter, say

if TYPE_CHECKING:
    from blockwise.arrays.info import Info


def demo(
    folder: Annotated[
        Path, typer.Option("--output", help="Folder for everything the demo makes.", callback=place)
    ] = Path("out/demo"),
    as_json: AsJson = False,
) -> None:
    """Run the whole line on a small made-up volume: train, predict, segment, score, draw.

    Example: contraband demo --output out/demo
    """
    from blockwise.files.whole import check_folder

    check_folder(folder / "test.zarr", "--output")
    from contraband.demo.demo import Demo, run_demo
    from contraband.volumes.report import read_json

    with meter("steps") as steps, meter("blocks") as blocks:
        state = Demo(folder=folder, say=say, training_progress=steps.update, progress=blocks.update)
        run_demo(state, console())
    evaluation = folder / "test.zarr" / "evaluation.json"
    emit(as_json, {"output": str(folder), "evaluation": read_json(evaluation)["best"]} if as_json else {})


def import_volume(
    source: Annotated[
        Path, typer.Argument(help="npz, npy, TIFF, PNG, JPEG, a folder of them, HDF5, zarr or N5.", callback=place)
    ],
    target: Annotated[Path, typer.Argument(help="New volume, as in data/vol.zarr/raw.", callback=place)],
    name: Annotated[str | None, typer.Option(help="The array in a file that holds several.")] = None,
    series: Annotated[int | None, typer.Option(help="The image in a file of several series, from 0.")] = None,
    level: Annotated[int | None, typer.Option(help="The resolution of an image that has several, from 0.")] = None,
    axes: Annotated[str | None, typer.Option(help="Stored axes, slowest first: zyx, xyz, yx, czyx, tczyx.")] = None,
    time: Annotated[int | None, typer.Option(help="The time point to take, from 0.")] = None,
    channel: Annotated[str | None, typer.Option(help="The channel to take, from 0, or several: 0,2.")] = None,
    voxel_size: Annotated[str | None, typer.Option(help="Along z, y, x, as in 10,10,10.")] = None,
    offset: Annotated[str | None, typer.Option(help="Place of the first voxel's corner along z, y, x.")] = None,
    units: Annotated[str | None, typer.Option(help="Of voxel size and offset: nm, um, mm or vx.")] = None,
    crop: Annotated[str | None, typer.Option(help="The part to take, in voxels, as in z=0:125.")] = None,
    labels: Annotated[bool, typer.Option("--labels", help="Objects: turn whole floats into integers.")] = False,
    quantise: Annotated[bool, typer.Option("--quantise", help="Turn affinities from 0 to 1 into uint8.")] = False,
    boundaries: Annotated[bool, typer.Option("--boundaries", help="Turn boundaries into affinities.")] = False,
    offsets: Annotated[str | None, typer.Option(help="Affinity offsets, as in '-1,0,0 0,-1,0 0,0,-1'.")] = None,
    pad: Annotated[bool, typer.Option("--pad", help="Pad images of a folder, of any size, to one stack.")] = False,
    block: Annotated[str | None, typer.Option(help="Voxels of a shard along z, y, x.")] = None,
    as_json: AsJson = False,
) -> None:
    """Turn a file of another program into a zarr volume; what the file says of itself is kept, and said.

    Example: contraband import scan.h5 data/vol.zarr/raw --name volumes/raw --voxel-size 10,10,10
    """
    plain = {"name": name, "series": series, "level": level, "axes": axes, "time": time, "units": units, "crop": crop}
    flags = {"labels": labels, "quantise": quantise, "boundaries": boundaries, "pad": pad}
    numbers = _numbers(channel, voxel_size, offset, block, offsets)
    given: dict[str, Any] = {key: value for key, value in (plain | flags | numbers).items() if value is not None}
    made = interface.import_file(source, target, **given)
    _show_volume(target, made, as_json)


def _show_volume(target: Path, made: Info, as_json: bool) -> None:
    """A line for the volume, and one for each thing that its file says or that was assumed."""
    said = made.attributes["source"]["said"]
    typer.echo(f"{target}: {'x'.join(map(str, made.shape))} {made.dtype}, voxel size {list(made.voxel_size)}")
    for what, words in said.items():
        typer.echo(f"  {what:<10}  {words}")
    emit(as_json, {"volume": str(target), "shape": list(made.shape), "dtype": str(made.dtype), "said": said})


def _numbers(
    channel: str | None, voxel_size: str | None, offset: str | None, block: str | None, offsets: str | None
) -> dict[str, object]:
    """Options that are lists of numbers; raises BadInput naming the flag."""
    return {
        "channel": _several("--channel", channel),
        "voxel_size": _three("--voxel-size", voxel_size, float),
        "offset": _three("--offset", offset, float),
        "block": _three("--block", block, int),
        "offsets": [_three("--offsets", one, int) for one in offsets.split()] if offsets else None,
    }


def image_options(
    channel: str | None, name: str | None, axes: str | None, voxel_size: str | None, units: str | None
) -> tuple[dict[str, Any], tuple[int, ...] | None]:
    """What a user says of an image: the options of an import that takes all channels, and the channels meant."""
    given = {"name": name, "axes": axes, "voxel_size": _three("--voxel-size", voxel_size, float), "units": units}
    chosen = _several("--channel", channel)
    return {key: value for key, value in given.items() if value is not None}, tuple(chosen) if chosen else None


def _several(flag: str, text: str | None) -> list[int] | None:
    if text is None:
        return None
    numbers = text.split(",")
    if not all(number.strip().isdecimal() for number in numbers):
        raise BadInput(flag, "is no number, or several with commas", got=text, wanted="such as 1 or 0,2")
    return [int(number) for number in numbers]


def _three[Number: (int, float)](flag: str, text: str | None, kind: type[Number]) -> list[Number] | None:
    if text is None:
        return None
    try:
        values = [kind(number) for number in text.split(",")]
    except ValueError:
        values = []
    if len(values) != 3:
        raise BadInput(flag, "is not three numbers", got=text, wanted="z,y,x as in 10,10,10")
    return values
