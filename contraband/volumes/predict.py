"""Predict affinities or embeddings blockwise: the one stage that needs torch, if a network predicts.

It is predicted tile by tile (`tiles.py`), so that the blocks do not matter. Tiles away from the mask are not predicted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from funlib.geometry import Roi

from blockwise.arrays.kept import keep
from blockwise.arrays.placement import Placement
from blockwise.arrays.values import check_finite
from blockwise.arrays.volume import Volume, check_whole_shards, create, info, write
from blockwise.grid import Block, Grid, Voxels
from blockwise.stage import Overlapping
from blockwise.store.base import Store
from contraband.models.averaging.turns import Orientations
from contraband.models.engines.choice import EngineChoice
from contraband.models.facts import NetworkFacts
from contraband.models.foreign.description import StoredDescription
from contraband.models.foreign.settings import NetworkUse
from contraband.models.normalise import Levels, Percentiles
from contraband.quick.classical_settings import Classical
from contraband.volumes.brightness import brightness_remarks, levels_of
from contraband.volumes.calibration import calibrated_ranges, keep_calibration
from contraband.volumes.channels import shown
from contraband.volumes.predictors import PredictorChoice, cached_predictor, load_predicting
from contraband.volumes.processors import keep_processor, processor_of
from contraband.volumes.reflection import read_reflected, reflect
from contraband.volumes.tile_choice import TileChoice
from contraband.volumes.tiles import Begun, Loaded, Mask, hull, predict_tiles, tiles

AS_EVER = {
    "engine": "torch",
    "levels": 1,
    "network": None,
    "mask": None,
    "mask_placed": None,
    "mask_near": None,
    "skip_constant": False,
    "classical": None,
    "raw_channels": [],
    "augment": "none",
    "compile": False,
}
"""What is as it was before there was a choice is not told, so that what was stored then is kept."""


class Predict(Overlapping):
    """Run a network or a quick head over the volume; affinities are stored as uint8, embeddings as float16."""

    raw: Volume
    target: Volume
    checkpoint: Path | None
    """Of a network, or the file of a quick head or of a network that was made elsewhere; None where rules predict."""
    further: tuple[Path, ...] = ()
    """Further checkpoints, of which the mean is stored with the first."""
    is_head: bool = False
    """Whether it is a quick head."""
    network: NetworkUse | None = None
    """How a network that was made elsewhere is used; None for all others."""
    classical: Classical | None = None
    """Rules that predict without labels."""
    weights: str
    """sha256 of the weights."""
    known: tuple[NetworkFacts, ...] = ()
    """What the networks told of themselves; kept with the target, so that later commands need not load them."""
    description: StoredDescription | None = None
    """What the description of a network says; kept likewise."""
    output: Literal["affinities", "embeddings"]
    device: str
    precision: str
    engine: str = "torch"
    """What computes a checkpoint: torch or openvino."""
    compile: bool = False
    """Whether torch compiles the network."""
    engine_choice: EngineChoice | None = None
    """Why that engine, if it was left open."""
    is_computed_here: bool = False
    """Whether a network is computed on this machine, so that it can be known which kind of processor does it."""
    other_processors: bool = False
    """Whether finished blocks may be of another kind of processor."""
    networks: Path | None = None
    """Folder of networks converted for OpenVINO: each is made by the first process that needs it."""
    shape: Voxels
    block: Voxels
    tile: Voxels
    """Voxels predicted in one pass."""
    tile_choice: TileChoice | None = None
    """Why that tile, if it was left open; `block` may then be several blocks of the volume."""
    shard: Voxels | None = None
    """Voxels of a shard of what is written; None: a block."""
    context: Voxels
    """Voxels the network needs around a tile, on each side."""
    channels: int
    offsets: tuple[Voxels, ...] = ()
    foreground: Volume | None = None
    """Where the channel after the affinities goes if the network also predicts foreground; `channels` is without it."""
    disagreement: Volume | None = None
    """Where the last channel goes if it is stored how far several checkpoints are apart; `channels` is without it."""
    percentiles: Percentiles | None = None
    """How raw is stretched before the network sees it; what that gives stands in the attributes of the target."""
    raw_channels: tuple[int, ...] = ()
    """Channels of raw that are shown, in this order; none where raw has no channel axis."""
    takes_every_channel: bool = False
    """Whether nobody has chosen among the channels of raw."""
    norm_factor: float | None = None
    """What raw is multiplied by, if it is; part of `weights`, and here to tell users of raw that does not suit."""
    levels: int = 1
    """Decoder levels that embeddings consist of."""
    augment: Orientations = "none"
    """Orientations of a tile of which the mean is stored."""
    needs_gpu: bool = False
    """Run only on workers that have the Dask resource GPU."""
    mask: Volume | None = None
    """Tiles with no voxel above 0 in it, or near, are not predicted but 0; None: all are predicted."""
    mask_placed: Placement | None = None
    """Where the mask lies; None: exactly on the volume."""
    mask_near: Voxels | None = None
    """How near, along z, y, x."""
    skip_constant: bool = False
    """Tiles for which the network would see one value only are not predicted but 0."""
    remarks: tuple[str, ...] = ()
    """What users should know of how a checkpoint is computed."""

    @property
    def name(self) -> str:  # type: ignore[override]
        """`embed` and `predict` are two settings of one stage."""
        return "predict" if self.output == "affinities" else "embed"

    def grid(self) -> Grid:
        return Grid(self.name, self.shape, self.block, self.context, self.context)

    def inputs(self) -> tuple[Volume, ...]:
        return (self.raw, self.mask) if self.mask else (self.raw,)

    def outputs(self) -> tuple[Volume, ...]:
        return (self.target, *self.beside())

    def beside(self) -> tuple[Volume, ...]:
        """Volumes of one channel that get what comes after the channels of the target, in this order."""
        return tuple(volume for volume in (self.foreground, self.disagreement) if volume is not None)

    def parameters(self) -> dict[str, object]:
        aside = {
            "checkpoint",
            "further",
            "is_head",
            "foreground",
            "disagreement",
            "networks",
            "engine_choice",
            "known",
            "description",
            "is_computed_here",
            "tile_choice",
            "shard",
            "other_processors",
            "norm_factor",
            "takes_every_channel",
            "needs_gpu",
            "remarks",
            *(() if self.percentiles else ("percentiles",)),
        }
        found = {key: value for key, value in super().parameters().items() if key not in aside}
        found |= {"disagreement": True} if self.disagreement else {}
        return {key: value for key, value in found.items() if key not in AS_EVER or value != AS_EVER[key]}

    def resources(self) -> dict[str, float]:
        return {"GPU": 1} if self.needs_gpu else {}

    def unchanged_box(self, same: Voxels, store: Store) -> Voxels | None:
        levels, rules = self.percentiles, self.classical
        is_of_sections = (levels and levels.per == "section") or (rules and rules.levels is None)
        if self.mask_near and any(near > lost for near, lost in zip(self.mask_near, self.context, strict=True)):
            return None  # the mask is looked at further away than raw
        if (levels and levels.per == "volume") or (is_of_sections and same[1:] != self.shape[1:]):
            return None  # other sections, other levels
        return self.grid().within(same, self.tile)

    def check(self) -> None:
        for volume in self.outputs():
            check_whole_shards(volume, self.block)
        if self.network is not None:
            self._try_network()

    def notes(self) -> Iterator[str]:
        if self.network is not None:
            yield f"{self.checkpoint}: {self._try_network()}"
        yield from self.remarks
        if self.classical is not None and len(self.raw_channels) > 1 and self.takes_every_channel:
            averaged = ", ".join(map(str, self.raw_channels))
            yield f"{self.raw.path}: rules see the mean of channels {averaged}; volume.channels chooses among them"
        if self.percentiles is None and self.norm_factor is not None:
            yield from brightness_remarks(self.raw, self.norm_factor)

    def prepare(self, store: Store) -> None:
        dtype = "uint8" if self.output == "affinities" else "float16"
        attributes = {"offsets": [list(offset) for offset in self.offsets]} if self.offsets else {}
        shard = self.shard or self.block
        create(self.target, (self.channels, *self.shape), dtype, shard, like=info(self.raw), attributes=attributes)
        for volume in self.beside():
            create(volume, self.shape, dtype, shard, like=info(self.raw))
        if self.known:
            keep(self.target, "networks", [facts.model_dump(mode="json") for facts in self.known])
        for key, one in (("engine", self.engine_choice), ("tile", self.tile_choice), ("description", self.description)):
            keep(self.target, key, one and one.model_dump(mode="json"))
        engine = self.network.engine if self.network else self.engine
        done = store.done_mask(self.name, self.grid())
        if self.is_computed_here and (processor := processor_of(engine, self.device)):
            keep_processor(self.target, processor, done, self.other_processors)
        levels = levels_of(self.raw, self.classical or self.percentiles, self.raw_channels)
        if levels is not None:
            keep(self.target, "levels", levels.as_lists())
        if (wanted := self._wanted) is not None:
            keep(self.target, "tiles", wanted.count(self.grid(), self.tile))
        if self.precision == "int8":
            plain = replace(self._choice, precision="float32", augment="none")
            load = partial(load_predicting, self.checkpoint, False, plain)
            keep_calibration(self.target, bool(done.any()), load, self.tile, self._wanted, self._shown)

    def load(self, block: Block) -> Loaded:
        return self.read_raw(block.write_roi)

    def compute(self, block: Block, loaded: Loaded) -> Begun:
        return self.begin(block.write_roi, loaded)

    def read_raw(self, roi: Roi) -> Loaded:
        """Raw of all tiles that touch a region and are wanted, and what the network needs around them."""
        chosen = list(tiles(roi, self.tile))
        if (wanted := self._wanted) is not None:
            chosen = wanted.near_tiles(chosen)
        if not chosen:
            return Loaded([], None, roi.begin)
        around = hull(chosen, self.context)
        return Loaded(chosen, self._shown(around, f"block at {list(roi.begin)}"), around.begin)

    def _shown(self, around: Roi, where: str = "read to calibrate") -> np.ndarray:
        """Raw as the network sees it, of a region that may reach outside of the volume."""
        raw = shown(read_reflected(self.raw, around, self.shape), self.raw_channels, self.classical is not None)
        check_finite(raw, f"{self.raw.path}, {where}", around.begin)
        if self.percentiles is not None or self.classical is not None:
            levels = Levels(np.array(info(self.target).attributes["levels"], np.float32))
            raw = levels.apply(raw, reflect(around.begin[0], around.end[0], self.shape[0]))
        return raw

    def begin(self, roi: Roi, loaded: Loaded) -> Begun:
        """Begin to predict a region. loaded: from `read_raw`."""
        predictor = cached_predictor(self.checkpoint, self.is_head, self.weights, self._choice)
        return predict_tiles(predictor, roi, loaded.tiles, loaded.take, self.skip_constant)

    def predict(self, roi: Roi) -> np.ndarray:
        """(C, z, y, x) of a region as it is stored, what goes to volumes beside the target last."""
        return self.begin(roi, self.read_raw(roi)).values()

    def save(self, block: Block, computed: Begun) -> None:
        """Write it to the target, and what comes after its channels to volumes of their own."""
        values = computed.values()
        write(self.target, block.write_roi, values[: self.channels])
        for volume, beside in zip(self.beside(), values[self.channels :], strict=True):
            write(volume, block.write_roi, beside)

    @property
    def _choice(self) -> PredictorChoice:
        return PredictorChoice(
            self.output,
            self.device,
            self.precision,
            self.levels,
            self.network,
            self.engine,
            self.classical,
            self.augment,
            self.further,
            self.disagreement is not None,
            self.compile,
            self.networks,
            calibrated_ranges(self.target) if self.precision == "int8" else (),
        )

    def _try_network(self) -> str:
        """What a trial of the network says; raises BadInput if it cannot be used as it is meant to be."""
        from contraband.models.foreign.trial import try_network

        as_it_is = replace(self._choice, augment="none")
        predictor: Any = cached_predictor(self.checkpoint, self.is_head, self.weights, as_it_is)
        return try_network(predictor, self.tile)

    @property
    def _wanted(self) -> Mask | None:
        near = self.mask_near
        return None if self.mask is None or near is None else Mask(self.mask, self.mask_placed, self.shape, near)
