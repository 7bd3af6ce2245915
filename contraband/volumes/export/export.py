"""Write the result of a run for other programs: blockwise, resumable, and at its place only when it is whole."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from blockwise.arrays.pyramid import OmeVersion
from blockwise.engine.options import RunOptions
from blockwise.errors import BadInput, Stale
from blockwise.files.address import check_target_on_disk
from blockwise.files.whole import check_folder
from blockwise.stage import Stage
from contraband.volumes.belonging import find_belonging, opened_store, sqlite_path
from contraband.volumes.clean import Remains, clean
from contraband.volumes.export.images import Image, raw_image, segment_image
from contraband.volumes.export.ome_zarr import describe_images, ome_stages
from contraband.volumes.export.per_image import images_of, images_stage
from contraband.volumes.export.precomputed import check_installed, precomputed_stages
from contraband.volumes.export.tiff import tiff_stage
from contraband.volumes.output import Output
from contraband.volumes.run import execute
from contraband.volumes.settings import VolumeSettings

ExportKind = Literal["ome-zarr", "tiff", "precomputed", "images"]
KINDS: dict[str, ExportKind] = {".zarr": "ome-zarr", ".tif": "tiff", ".tiff": "tiff", ".precomputed": "precomputed"}
"""By the end of the target's name; a name without any is a folder with a TIFF for each image."""
HOLDS = {"tiff": "a TIFF file", "precomputed": "a precomputed volume", "images": "a folder of images"}


@dataclass(frozen=True)
class ExportOptions:
    """What is exported, and as what."""

    kind: ExportKind
    thresholds: tuple[float, ...]
    with_raw: bool = True
    is_compact: bool = False
    """Segments are called 1 to n; in TIFF they always are."""
    ome_version: OmeVersion = "0.5"


@dataclass(frozen=True)
class Workplace:
    """Where an export lies until it is whole: a run's output of its own beside the target, and its store."""

    settings: VolumeSettings
    made: Path
    """What becomes the target."""
    scratch: Path
    """What is needed meanwhile."""

    @classmethod
    def beside(cls, target: Path, settings: VolumeSettings) -> Workplace:
        """The one of a target."""
        folder = target.absolute().with_name(f".{target.name}.unfinished.zarr")
        store = settings.store_url
        if sqlite_path(store) is not None:
            store = f"sqlite:///{folder.with_suffix('.db')}"
        own = settings.model_copy(update={"output": folder, "store": store})
        return cls(own, folder / f"made{''.join(target.suffixes[-2:])}", folder / "scratch")

    def remove(self) -> None:
        """Remove it with its progress."""
        output = Output(self.settings.output)
        identity = output.identity()
        clean(Remains(output, tuple(output.contents()), (), self.settings.store_url, (identity,) if identity else ()))


def export(settings: VolumeSettings, target: Path, wanted: ExportOptions, options: RunOptions) -> None:
    """Write the finished segments at the thresholds, and raw where the format has it, to a new file or folder.

    An export that was cut off goes on, unless what it is made of has changed. Raises BadInput and WorkFailed.
    """
    check_export(settings, target, wanted)
    work = Workplace.beside(target, settings)
    images = _images(settings, wanted)
    stages = _stages(settings, work, wanted, images)
    try:
        execute(work.settings, stages, options)
    except Stale:
        options.announce(f"{target}: what was begun of it was made from something else, and is begun again")
        work.remove()
        execute(work.settings, stages, options)
    if wanted.kind == "ome-zarr":
        describe_images(work.made, images, wanted.ome_version)
    _publish(work.made, target)
    work.remove()


def check_export(settings: VolumeSettings, target: Path, wanted: ExportOptions) -> None:
    """Raise BadInput for what cannot be exported; nothing has been written then."""
    check_target_on_disk(target)
    if os.path.lexists(target):
        raise BadInput(target, "exists already", todo="remove it, or choose another target")
    check_folder(target, "target")
    output = settings.output.resolve()
    if output in target.resolve().parents:
        raise BadInput(target, "lies in the output of the run", todo="choose a target beside it")
    if wanted.kind == "ome-zarr" and target.suffix != ".zarr":
        raise BadInput(target, "is no name of an OME-Zarr", wanted="a name that ends in .zarr")
    if wanted.kind == "tiff" and target.suffix not in (".tif", ".tiff"):
        raise BadInput(target, "is no name of a TIFF file", wanted="a name that ends in .tif")
    if wanted.kind != "ome-zarr" and len(wanted.thresholds) > 1:
        raise BadInput(
            "--threshold", f"{HOLDS[wanted.kind]} holds one segmentation", got=list(wanted.thresholds), wanted="one"
        )
    if wanted.kind == "precomputed":
        check_installed()
    if wanted.kind == "images":
        images_of(settings, target)
    if wanted.kind == "ome-zarr" and wanted.with_raw:
        raw_image(settings)


def kind_of(target: Path) -> ExportKind:
    """The format that a target's name stands for; raises BadInput for a name that says nothing."""
    if not target.suffix:
        return "images"
    if target.suffix not in KINDS:
        raise BadInput(target, "does not say a format", wanted=f"a name that ends in {', '.join(KINDS)}")
    return KINDS[target.suffix]


def _images(settings: VolumeSettings, wanted: ExportOptions) -> list[Image]:
    with opened_store(settings, find_belonging(settings).identity) as store:
        made = {one.name: one.fingerprint for one in store.stages()}
    is_compact = wanted.is_compact or wanted.kind in ("tiff", "images")
    segments = [segment_image(settings, at, made[f"segment/{at:g}"], is_compact) for at in wanted.thresholds]
    raw = raw_image(settings) if wanted.with_raw and wanted.kind == "ome-zarr" else None
    return [*([raw] if raw else []), *segments]


def _stages(settings: VolumeSettings, work: Workplace, wanted: ExportOptions, images: Sequence[Image]) -> list[Stage]:
    block = settings.blocks.shape
    if wanted.kind == "tiff":
        return [tiff_stage(work.made, work.scratch, images[0], block)]
    if wanted.kind == "images":
        return [images_stage(settings, work.made, work.scratch, images[0])]
    if wanted.kind == "precomputed":
        return precomputed_stages(work.made, work.scratch, images[0], block)
    return ome_stages(work.made, work.scratch, images, block, wanted.ome_version)


def _publish(made: Path, target: Path) -> None:
    """Put it at its place in one step."""
    with suppress(FileExistsError):
        target.parent.mkdir(parents=True)
    try:
        os.rename(made, target)
    except OSError as error:
        raise BadInput(target, f"cannot be put in place ({error.strerror})") from None
