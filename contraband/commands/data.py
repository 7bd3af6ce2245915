"""Commands that make data: import and demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from blockwise.errors import BadInput
from contraband import interface
from contraband.commands.screen import AsJson, console, emit, place
from contraband.progress import meter, say


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
    source: Annotated[Path, typer.Argument(help="npz, npy, TIFF, folder of TIFFs, HDF5, zarr or N5.", callback=place)],
    target: Annotated[Path, typer.Argument(help="New volume, as in data/vol.zarr/raw.", callback=place)],
    name: Annotated[str | None, typer.Option(help="The array in a file that holds several.")] = None,
    axes: Annotated[str | None, typer.Option(help="Stored axes, slowest first: zyx, xyz, yx, czyx.")] = None,
    voxel_size: Annotated[str | None, typer.Option(help="Along z, y, x, as in 10,10,10.")] = None,
    offset: Annotated[str | None, typer.Option(help="Place of the first voxel along z, y, x, in units.")] = None,
    units: Annotated[str | None, typer.Option(help="nm, um, mm or vx.")] = None,
    crop: Annotated[str | None, typer.Option(help="The part to take, in voxels, as in z=0:125.")] = None,
    quantise: Annotated[bool, typer.Option("--quantise", help="Turn affinities from 0 to 1 into uint8.")] = False,
    boundaries: Annotated[
        bool, typer.Option("--boundaries", help="Turn boundary probabilities into uint8 affinities.")
    ] = False,
    offsets: Annotated[str | None, typer.Option(help="Affinity offsets, as in '-1,0,0 0,-1,0 0,0,-1'.")] = None,
    block: Annotated[str | None, typer.Option(help="Voxels of a shard along z, y, x.")] = None,
    as_json: AsJson = False,
) -> None:
    """Turn a file of another program into a zarr volume.

    Example: contraband import scan.h5 data/vol.zarr/raw --name volumes/raw --voxel-size 10,10,10
    """
    options: dict[str, Any] = {
        "name": name,
        "axes": axes,
        "units": units,
        "crop": crop,
        "quantise": quantise,
        "boundaries": boundaries,
        "voxel_size": _three("--voxel-size", voxel_size, float),
        "offset": _three("--offset", offset, float),
        "block": _three("--block", block, int),
        "offsets": [_three("--offsets", offset, int) for offset in offsets.split()] if offsets else None,
    }
    given = {key: value for key, value in options.items() if value is not None}
    made = interface.import_file(source, target, **given)
    line = f"{target}: {'x'.join(map(str, made.shape))} {made.dtype}, voxel size {list(made.voxel_size)}"
    typer.echo(line)
    emit(as_json, {"volume": str(target), "shape": list(made.shape), "dtype": str(made.dtype)})


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
