"""The settings file of a volume: `contraband run VOLUME.yaml`."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from blockwise.cluster.settings import Cluster
from blockwise.errors import BadInput, looked_for
from blockwise.fields import Count, Place, Positive, SomePlaces, TileShape, VolumePlace, expanded, with_variables
from blockwise.files.address import Address, Synthetic, on_disk
from blockwise.grid import Voxels
from blockwise.settings import Settings, override, read_yaml
from blockwise.stages.agglomerate.stage import AgglomerateSettings
from blockwise.stages.edges import EdgeSettings
from blockwise.stages.evaluate.stage import EvaluateSettings
from blockwise.stages.fragments import FragmentSettings
from blockwise.stages.segment import SegmentSettings
from contraband.models.averaging.turns import Orientations
from contraband.models.foreign.settings import NetworkInput, Offset, Says
from contraband.quick.classical_settings import Classical

SQLITE = "sqlite:///"
"""How a store begins that is a file; its path follows."""


class Source(Settings):
    """What there is to begin with."""

    raw: VolumePlace | None = None
    """The image, (z, y, x) or (channel, z, y, x)."""
    channels: Annotated[tuple[Count, ...], Field(min_length=1)] | None = None
    """The channels of raw that a network is shown, in this order, from 0; null: all there are. Rules without labels see
    the mean of them."""
    labels: VolumePlace | None = None
    """True objects, for evaluate only."""
    skeletons: Place | None = None
    """Skeletons of true objects, for evaluate only; see `blockwise.stages.evaluate.skeletons`."""
    mask: VolumePlace | None = None
    """Voxels where this is 0 are background."""

    @property
    def paths(self) -> list[Path]:
        """All that is named, to be read and never written."""
        return [value for _, value in self if isinstance(value, Path)]


class Model(Settings):
    """What predicts: a network of a training or made elsewhere, a quick head, or rules that need no labels."""

    checkpoint: SomePlaces | None = None
    """A checkpoint of a training, or the folder of its checkpoints, of which the newest is taken. A list of them stores
    the mean of their affinities."""
    disagreement: bool = False
    """Of several checkpoints: `disagreement` beside the affinities says how far they are apart, (z, y, x) uint8: the
    largest standard deviation of an affinity of the voxel, 255 for the most there is, 0.5."""
    head: Place | None = None
    """Instead: the file of a quick head, as `contraband label` writes it. It needs neither torch nor a GPU."""
    network: Place | None = None
    """Instead: the file of a network that was made elsewhere, `.pt2` (torch.export), `.onnx` or `.xml` (OpenVINO). It
    is tried on a random tile first; nothing is unpickled. Or its description by bioimage.io, `rdf.yaml` or the `.zip`
    of its package: what that says of `context`, `stride`, `input` and `output` holds where these are not given."""
    context: tuple[Count, Count, Count] | None = None
    """Of a network file: voxels along z, y, x that it looks at around a voxel. Too few are refused, with the number
    that was measured."""
    stride: tuple[Positive, Positive, Positive] | None = None
    """Of a network file: tiles begin at multiples of this, the product of its pooling factors; null: 1."""
    input: NetworkInput = NetworkInput()
    """What a network file is given."""
    offsets: tuple[Offset, ...] | None = None
    """Of a network file: the neighbour (z, y, x) that each affinity joins a voxel with; null: the voxel before, along
    each axis."""
    engine: Literal["torch", "openvino", "onnxruntime", "auto"] | None = None
    """The program that computes the network; null: torch for a checkpoint and `.pt2`, else OpenVINO, else onnxruntime.
    On a CPU `openvino` is faster for a checkpoint too; affinities differ by rounding. `auto` for a checkpoint: OpenVINO
    on a CPU where it is installed, its values differ by at most 1e-3 (in bfloat16 by 0.02 in the mean) and it is
    faster, measured on a tile once and stored with the prediction; else torch."""
    classical: Classical | None = None
    """Instead: rules that need no labels, as `contraband start` finds them in an image. They need no torch either."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: a GPU where there is one."""
    tile: TileShape | None = None
    """Voxels predicted in one pass; null: about a block. Tiles are anchored at the volume's first voxel, so
    that the prediction does not depend on the blocks. `auto` for a checkpoint: the one with the least work within half
    of a worker's memory, which may take several blocks together; chosen once and stored with the prediction."""
    precision: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    """auto: bfloat16 where the processor has it; with `engine: openvino` float32, with `engine: auto` what was measured
    to be faster. `int8`, with `engine: openvino` and one checkpoint, computes in integers of 8 bits whose ranges are
    measured on tiles of the volume; the report says how far affinities then are from those in float32."""
    compile: bool = False
    """torch compiles a checkpoint's network for the shape of its tiles, which takes each worker some seconds and a C
    compiler, on a CPU one of C++; affinities differ by rounding. On an H200 half as fast again in bfloat16."""
    other_processors: bool = False
    """A run on this machine that goes on with a prediction is refused where finished blocks were computed by a
    processor with other instruction sets (AVX2, AVX-512), as values differ by rounding; true: it goes on."""
    output: Says = "affinities"
    """`embeddings` stores the encoder's features (float16) and ends there. A network file may also say `boundary` or
    `foreground+boundary`, one channel each, of which affinities are made: the smaller certainty of two voxels."""
    augment: Orientations = "none"
    """A network's affinities become the mean over mirror images of a tile: `flips` along each of its axes (4 images in
    2D, 8 in 3D), `rotations` these with y and x swapped as well (8 and 16). As many times the work."""
    levels: Positive = 1
    """Decoder levels that embeddings consist of, the finest first; coarser ones are repeated to the voxels of raw."""
    skip_masked: bool = True
    """Tiles away from `volume.mask` are not predicted; the affinities there are 0. Segments are the same."""
    skip_constant: bool = False
    """Tiles for which the network would see one value only are not predicted either, as beside a scanned area."""

    @model_validator(mode="after")
    def one_of_three(self) -> Self:
        given = [key for key in ("checkpoint", "head", "network", "classical") if getattr(self, key) is not None]
        if len(given) != 1:
            said = f"{' and '.join(given)} are" if given else "none is"
            raise ValueError(f"needs a checkpoint, a head, a network or classical rules, and {said} given")
        if given != ["network"]:
            keys = ("context", "stride", "input", "offsets")
            told = [key for key in keys if getattr(self, key) != type(self).model_fields[key].default]
            told += [] if self.output in ("affinities", "embeddings") else [f"output: {self.output}"]
            computed_by = (None, "torch", "openvino", "auto") if given == ["checkpoint"] else (None, "torch")
            told += [] if self.engine in computed_by else [f"engine: {self.engine}"]
            if told:
                raise ValueError(f"{', '.join(told)} is for a network file; a {given[0]} tells it itself")
        if self.tile == "auto" and given != ["checkpoint"]:
            raise ValueError(f"tile: auto is for a checkpoint, whose memory can be told; a {given[0]} needs numbers")
        if self.precision == "int8" and (
            self.engine != "openvino" or len(self.checkpoints) != 1 or self.stored != "affinities"
        ):
            raise ValueError("precision: int8 is for affinities of one checkpoint, with engine: openvino")
        if self.compile and (given != ["checkpoint"] or self.engine not in (None, "torch")):
            raise ValueError("compile is for a checkpoint that torch computes")
        if self.classical is not None and self.output == "embeddings":
            raise ValueError("rules without labels (classical) have no embeddings; name a checkpoint")
        if self.augment != "none" and (self.output == "embeddings" or given[0] not in ("checkpoint", "network")):
            raise ValueError(f"augment: {self.augment} is for affinities of a checkpoint or a network file")
        if self.output == "embeddings" and len(self.checkpoints) > 1:
            raise ValueError("embeddings of several checkpoints have no mean; name one")
        if self.disagreement and len(self.checkpoints) < 2:
            raise ValueError(f"disagreement needs two checkpoints or more, got {len(self.checkpoints)}")
        return self

    @property
    def checkpoints(self) -> tuple[Path, ...]:
        """All that are named."""
        if self.checkpoint is None:
            return ()
        return self.checkpoint if isinstance(self.checkpoint, tuple) else (self.checkpoint,)

    @property
    def stored(self) -> Literal["affinities", "embeddings"]:
        """What is written to the output."""
        return "embeddings" if self.output == "embeddings" else "affinities"


class Blocks(Settings):
    """How the volume is cut up; the result does not depend on it."""

    shape: tuple[Positive, Positive, Positive] = (64, 128, 128)
    """Voxels of a block along z, y, x; also the shard shape of every output."""


class VolumeSettings(Settings):
    """One volume from raw (or affinities) to scores: what a VOLUME.yaml holds. It never changes.

    Paths are relative to the working folder, not to the file; ~ and ${NAME} are replaced, unless only a file of this
    very name is there. Volumes may lie at addresses too: s3://bucket/vol.zarr/raw, gs://, az://, and http(s):// to be
    read; these need the extra `cloud`. Affinities and labels may be made up while they are read:
    synthetic://7?shape=1024,2048,2048.

    Example:
        settings = VolumeSettings(affinities=Path("vol.zarr/affinities"), output=Path("out/vol.zarr"))
        other = settings.model_copy(update={"output": Path("out/other.zarr")})
    """

    volume: Source = Source()
    affinities: VolumePlace | None = None
    """Stored affinities; predict is skipped."""
    model: Model | None = None
    output: VolumePlace
    """Folder of everything that is made, or its address; its name ends in .zarr. Of an address, locks, logs, scores and
    SQLite lie in the working folder: for s3://bucket/out/vol.zarr in s3/bucket/out/."""
    blocks: Blocks = Blocks()
    fragments: FragmentSettings = FragmentSettings()
    edges: EdgeSettings = EdgeSettings()
    agglomerate: AgglomerateSettings = AgglomerateSettings()
    segment: SegmentSettings = SegmentSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    store: Annotated[str, Field(min_length=1)] | None = None
    """sqlite:///path or mongodb://host/database, with ${NAME} from the environment; null: SQLite beside the output."""
    cluster: Cluster = Cluster()

    @field_validator("output")
    @classmethod
    def named_zarr(cls, output: Path) -> Path:
        if isinstance(output, Synthetic):
            raise ValueError("outputs are not synthetic, which is only read: use a path, s3://, gs:// or az://")
        if output.suffix != ".zarr":
            raise ValueError(f"output must end in .zarr, got {output}")
        if isinstance(output, Address) and output.is_on_the_web:
            raise ValueError("outputs are not written over http: use a path, s3://, gs:// or az://")
        return output

    @field_validator("store")
    @classmethod
    def has_its_variables(cls, store: str | None) -> str | None:
        if store is not None and store.startswith(SQLITE):
            expanded(Path(store.removeprefix(SQLITE)))
        elif store is not None:
            with_variables(store, bare=False)  # its value may be a password, which must not be kept here
        return store

    @property
    def store_url(self) -> str:
        """Where progress and the region graph are kept."""
        if self.store is None:
            return f"{SQLITE}{on_disk(self.output).with_suffix('.db').absolute()}"
        # ${NAME} takes a user or password from the environment.
        url = self.store if self.store.startswith(SQLITE) else os.path.expandvars(self.store)
        # Workers may have another working folder.
        path = url.removeprefix(SQLITE)
        return f"{SQLITE}{expanded(Path(path)).absolute()}" if path and path != url else url


def load_volume_settings(path: Path, assignments: Sequence[str] = ()) -> VolumeSettings:
    """Settings from a YAML file with `key=value` overrides; raises BadInput."""
    return volume_settings(read_yaml(path), path, assignments)


def volume_settings(data: Mapping[str, Any], where: object, assignments: Sequence[str] = ()) -> VolumeSettings:
    """Settings from plain data with `key=value` overrides; raises BadInput naming `where`."""
    settings = VolumeSettings.parse(override(data, assignments), where)
    check_beginning(settings, where)
    return settings


def check_beginning(settings: VolumeSettings, where: object = "settings") -> None:
    """Raise BadInput unless there is one thing to begin with, a network or affinities."""
    if settings.affinities is None and settings.model is None:
        raise BadInput(where, "nothing to segment", got="neither", wanted="affinities or model.checkpoint")
    if settings.affinities is not None and settings.model is not None:
        raise BadInput(where, "affinities are both given and predicted", got="both", wanted="one", todo="remove one")


def with_thresholds(settings: VolumeSettings, thresholds: Sequence[float]) -> VolumeSettings:
    """The settings with other thresholds of segments; raises BadInput for what is no threshold."""
    segment = settings.segment.model_dump(mode="json") | {"thresholds": list(thresholds)}
    return settings.model_copy(update={"segment": SegmentSettings.parse(segment, "segment")})


def with_cluster(settings: VolumeSettings) -> VolumeSettings:
    """The same with a `cluster.kind` that is not `auto`: small volumes are done in this process."""
    if settings.cluster.kind != "auto":
        return settings
    voxels = 0 if settings.cluster.is_asked_for else math.prod(volume_shape(settings))
    return settings.model_copy(update={"cluster": settings.cluster.decided(voxels)})


def volume_shape(settings: VolumeSettings) -> Voxels:
    """Shape of the volume along z, y, x, from its affinities or its raw image."""
    from blockwise.arrays.volume import Volume, info

    raw = settings.volume.raw
    if raw is not None and not raw.exists():  # also where it is not read, for a slip is a slip
        raise BadInput(f"volume.raw: {raw}", "no such volume", todo=f"check the path{looked_for(raw)}")
    path = settings.affinities or raw
    if path is None:
        raise BadInput("volume.raw", "is needed for a prediction", got=None, wanted="the path of an image")
    return info(Volume(path=path)).spatial
