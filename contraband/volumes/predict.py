"""Predict affinities or embeddings blockwise: the one stage that needs torch, if a network predicts.

Every tile has the same shape and its place is a multiple of that shape, counted from the first voxel of the
volume. So each voxel is computed from the same numbers in the same order whatever the blocks are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from funlib.geometry import Coordinate, Roi

from blockwise.arrays.values import check_finite
from blockwise.arrays.volume import Volume, as_shard, check_whole_shards, create, info, open_array, write
from blockwise.errors import BadInput
from blockwise.grid import Block, Grid, Voxels, as_voxels
from blockwise.stage import Overlapping
from blockwise.store.base import Store
from contraband.models.normalise import Levels, Percentiles
from contraband.volumes.brightness import array_levels, brightness_remarks, volume_levels
from contraband.volumes.output import Output
from contraband.volumes.predictors import Predicting, PredictorChoice, cached_predictor, load_predicting
from contraband.volumes.reflection import read_reflected, reflect, reflected
from contraband.volumes.settings import Blocks, Model, VolumeSettings


class Predict(Overlapping):
    """Run a network or a quick head over the volume; affinities are stored as uint8, embeddings as float16."""

    raw: Volume
    target: Volume
    checkpoint: Path
    """Of a network, or the file of a quick head."""
    is_head: bool = False
    """Which of the two."""
    weights: str
    """sha256 of the weights."""
    output: Literal["affinities", "embeddings"]
    device: str
    precision: str
    shape: Voxels
    block: Voxels
    tile: Voxels
    """Voxels predicted in one pass."""
    context: Voxels
    """Voxels the network needs around a tile, on each side."""
    channels: int
    offsets: tuple[Voxels, ...] = ()
    foreground: Volume | None = None
    """Where the last channel goes if the network also predicts foreground; `channels` is without it."""
    percentiles: Percentiles | None = None
    """How raw is stretched before the network sees it; what that gives stands in the attributes of the target."""
    norm_factor: float | None = None
    """What raw is multiplied by, if it is; part of `weights`, and here to tell users of raw that does not suit."""
    levels: int = 1
    """Decoder levels that embeddings consist of."""
    needs_gpu: bool = False
    """Run only on workers that have the Dask resource GPU."""

    @property
    def name(self) -> str:  # type: ignore[override]
        """`embed` and `predict` are two settings of one stage."""
        return "predict" if self.output == "affinities" else "embed"

    def grid(self) -> Grid:
        return Grid(self.name, self.shape, self.block, self.context, self.context)

    def inputs(self) -> tuple[Volume, ...]:
        return (self.raw,)

    def outputs(self) -> tuple[Volume, ...]:
        return (self.target, self.foreground) if self.foreground else (self.target,)

    def parameters(self) -> dict[str, object]:
        aside = {
            "checkpoint",
            "is_head",
            "foreground",
            "norm_factor",
            "needs_gpu",
            *(() if self.percentiles else ("percentiles",)),
        }
        if self.levels == 1:  # so that what was stored before there were several is kept
            aside.add("levels")
        return {key: value for key, value in super().parameters().items() if key not in aside}

    def resources(self) -> dict[str, float]:
        return {"GPU": 1} if self.needs_gpu else {}

    def unchanged_box(self, same: Voxels, store: Store) -> Voxels | None:
        levels = self.percentiles
        if levels and (levels.per == "volume" or same[1:] != self.shape[1:]):
            return None  # other sections, other levels
        return self.grid().within(same, self.tile)

    def check(self) -> None:
        raw = info(self.raw)
        if raw.channels is not None:
            raise BadInput(self.raw.path, "raw has a channel axis", got=raw.shape, wanted="(z, y, x)")
        for volume in self.outputs():
            check_whole_shards(volume, self.block)

    def notes(self) -> Iterator[str]:
        if self.percentiles is None and self.norm_factor is not None:
            yield from brightness_remarks(self.raw, self.norm_factor)

    def prepare(self, store: Store) -> None:
        dtype = "uint8" if self.output == "affinities" else "float16"
        attributes = {"offsets": [list(offset) for offset in self.offsets]} if self.offsets else {}
        create(
            self.target,
            (self.channels, *self.shape),
            dtype,
            self.block,
            like=info(self.raw),
            attributes=attributes,
        )
        if self.foreground is not None:
            create(self.foreground, self.shape, dtype, self.block, like=info(self.raw))
        if self.percentiles is not None:
            open_array(self.target, "r+").attrs["levels"] = volume_levels(self.raw, self.percentiles).as_lists()

    def load(self, block: Block) -> np.ndarray:
        return self.read_raw(block.write_roi)

    def compute(self, block: Block, loaded: np.ndarray) -> np.ndarray:
        return self.predict(block.write_roi, loaded)

    def read_raw(self, roi: Roi) -> np.ndarray:
        """Raw of all tiles that touch a region, and what the network needs around them."""
        hull = self._hull(roi)
        raw = read_reflected(self.raw, hull, self.shape)
        check_finite(raw, f"{self.raw.path}, block at {list(roi.begin)}", hull.begin)
        if self.percentiles is None:
            return raw
        levels = Levels(np.array(info(self.target).attributes["levels"], np.float32))
        return levels.apply(raw, reflect(hull.begin[0], hull.end[0], self.shape[0]))

    def predict(self, roi: Roi, loaded: np.ndarray) -> np.ndarray:
        """(C, z, y, x) of a region as it is stored; the foreground is the last channel. loaded: from `read_raw`."""
        choice = PredictorChoice(self.output, self.device, self.precision, self.levels)
        predictor = cached_predictor(self.checkpoint, self.is_head, self.weights, choice)
        origin = self._hull(roi).begin
        return predict_tiles(predictor, roi, self.tile, lambda region: loaded[(region - origin).to_slices()])

    def save(self, block: Block, computed: np.ndarray) -> None:
        """Write it to the target, and the foreground to its own."""
        write(self.target, block.write_roi, computed[: self.channels])
        if self.foreground is not None:
            write(self.foreground, block.write_roi, computed[-1])

    def _hull(self, roi: Roi) -> Roi:
        """All tiles that touch a region, with the context around them."""
        return covering(roi, self.tile).grow(Coordinate(self.context), Coordinate(self.context))


def predict_tiles(predictor: Predicting, roi: Roi, tile: Voxels, take: Callable[[Roi], np.ndarray]) -> np.ndarray:
    """(C, z, y, x) of a region as it is stored: affinities as uint8, embeddings as float16; foreground comes last.

    take: gives raw of a region, which may reach outside of the volume: of each tile with what is around it.
    """
    is_uint8 = predictor.kind == "affinities"
    result = np.empty((predictor.channels, *roi.shape), np.uint8 if is_uint8 else np.float16)
    around = Coordinate(predictor.context)
    for one in tiles(roi, tile):
        raw = take(one.grow(around, around))
        values = predictor.quantised(raw) if is_uint8 else predictor(raw)
        inside = one.intersect(roi)
        piece = values[(slice(None), *(inside - one.begin).to_slices())]
        result[(slice(None), *(inside - roi.begin).to_slices())] = piece
    return result


def predict_array(predictor: Predicting, raw: np.ndarray, told: Callable[[int, int], None]) -> np.ndarray:
    """What a run with the usual blocks would store for a volume in memory, (z, y, x).

    told: gets how many tiles are done, and how many there are. Raises BadInput for an array that is no such volume.
    """
    if raw.ndim != 3 or not raw.size or raw.dtype.kind not in "buif":
        raise BadInput(
            "raw", "is no image", got=f"{raw.shape} {raw.dtype}", wanted="(z, y, x) numbers, as in image[None]"
        )
    shape = as_voxels(raw.shape)
    tile = predictor.fit_output(as_shard(Blocks().shape, shape))
    whole = Roi((0, 0, 0), shape)
    total = int(np.prod(covering(whole, tile).shape // Coordinate(tile)))
    levels = None if predictor.percentiles is None else array_levels(raw, predictor.percentiles)
    done = iter(range(total))

    def take(region: Roi) -> np.ndarray:
        told(next(done), total)
        z, y, x = reflected(region, shape)
        piece = raw[np.ix_(z, y, x)]
        return piece if levels is None else levels.apply(piece, z)

    result = predict_tiles(predictor, whole, tile, take)
    told(total, total)
    return result


def covering(roi: Roi, tile: Voxels) -> Roi:
    """The smallest region of whole tiles around `roi`."""
    shape = Coordinate(tile)
    begin = roi.begin // shape * shape
    return Roi(begin, (-(-roi.end // shape)) * shape - begin)


def tiles(roi: Roi, tile: Voxels) -> Iterator[Roi]:
    """The tiles of the volume that touch `roi`; they may reach outside of it and of the volume."""
    shape, whole = Coordinate(tile), covering(roi, tile)
    for index in np.ndindex(*(whole.shape // shape)):
        yield Roi(whole.begin + Coordinate(index) * shape, shape)


def prediction_stage(settings: VolumeSettings, shape: Voxels, block: Voxels) -> Predict:
    """The stage that predicts for a volume; loads the network or head on this machine to learn what it needs."""
    model: Model = settings.model  # type: ignore[assignment]
    is_head = model.head is not None
    on_gpu = settings.cluster.gpus > 0 and not is_head
    device = "cpu" if is_head else "cuda" if on_gpu and model.device == "auto" else model.device
    checkpoint = model.head or _newest(model.checkpoint)  # type: ignore[arg-type]
    predictor = load_predicting(
        checkpoint, is_head, PredictorChoice(model.output, "cpu" if on_gpu else device, levels=model.levels)
    )
    tile = predictor.fit_output(model.tile or block)
    raw: Path = settings.volume.raw  # type: ignore[assignment]
    foreground = Output(settings.output).foreground if predictor.has_foreground else None
    return Predict(
        raw=Volume(path=raw),
        target=Output(settings.output).array(model.output),
        checkpoint=checkpoint,
        is_head=is_head,
        weights=predictor.fingerprint,
        output=model.output,
        device=device,
        precision="float32" if is_head else model.precision,
        shape=shape,
        block=block,
        tile=tile,
        context=predictor.context,
        channels=predictor.channels - predictor.has_foreground,
        offsets=tuple((int(z), int(y), int(x)) for z, y, x in predictor.offsets),
        needs_gpu=on_gpu,
        percentiles=predictor.percentiles,
        norm_factor=predictor.norm_factor,
        levels=model.levels,
        foreground=foreground,
    )


def _newest(checkpoint: Path) -> Path:
    from contraband.models.checkpoints import latest_checkpoint

    return latest_checkpoint(checkpoint)
