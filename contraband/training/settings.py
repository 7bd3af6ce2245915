"""One point of a grid: how a base encoder or a segmentation head is trained."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from blockwise.fields import PlaceText
from blockwise.settings import Settings
from contraband.models.classes import CLASSES
from contraband.models.normalise import Percentiles
from contraband.models.settings import ModelSettings
from contraband.samples.settings import Augmentations, as_tuple
from contraband.training.joint_settings import JointSettings

DatasetNames = Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(as_tuple)]
Files = Annotated[tuple[PlaceText, ...], Field(min_length=1), BeforeValidator(as_tuple)]
"""Relative to the working folder; ~ and ${NAME} are replaced."""
Offset = tuple[int, int, int]


class TrainSettings(Augmentations):
    """What both kinds of training share."""

    data_file: Files
    """One zarr container, or several; a volume is drawn in proportion to its size."""

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """How weights are stepped, each as torch has it."""

    lr: PositiveFloat = 1e-4
    """Learning rate."""

    warmup_steps: NonNegativeInt = 0
    """The rate grows evenly up to `lr` in the first so many steps; high at once it may kill a small network."""

    num_iterations: PositiveInt = 10000
    """Steps of the training."""

    batch_size: PositiveInt = 1
    """Samples of a step; for contrastive training, pairs of views."""

    cooldown: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the steps, the last ones, over which the rate falls evenly towards 0; 0: it does not."""

    schedule_steps: PositiveInt | None = None
    """Steps that `cooldown` and the weight of `joint` are spread over; left out: `num_iterations`."""

    seed: NonNegativeInt = 0
    """Of weights, batches and augmentations: the same seed gives the same training."""

    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.998
    """Decay a step of the averaged weights that are evaluated; 0 turns averaging off."""

    norm_factor: PositiveFloat | None = None
    """Raw is multiplied by this; left out: 1/255 for uint8, 1/65535 for uint16, 1 for floats, and where that does not
    bring raw to about 0..1 it is stretched between percentiles instead, which is said."""

    normalize: Literal["factor", "percentile"] = "factor"
    """`percentile`: raw is stretched between percentiles of each section instead, in training and prediction."""

    percentile_params: Percentiles = Percentiles()
    """Which percentiles, with `normalize: percentile`."""

    augment: Literal["auto", "loader", "device"] = "auto"
    """Where samples are augmented; auto: on the device where that is a GPU."""

    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    """auto: bfloat16 autocast where the processor has it; the loss is always float32."""

    compile: bool = False
    """Use `torch.compile`."""

    workers: NonNegativeInt | None = None
    """Loader processes; left out: none on a CPU, up to four with a GPU."""

    loader_timeout_s: PositiveFloat = 45.0
    """A loader process that gives no batch for so long is taken for hung, and the training stops."""

    save_every: PositiveInt = 5000
    """Steps between checkpoints."""

    keep_checkpoints: PositiveInt | None = None
    """Only the newest so many checkpoints are kept; left out: all."""

    snapshot_every: NonNegativeInt = 0
    """Steps between snapshots of a batch and its prediction; 0: one with every checkpoint."""

    log_every: PositiveInt = 10
    """Steps between TensorBoard points."""

    max_seconds: PositiveFloat | None = None
    """Stop cleanly, with a checkpoint, after training for this time in all, counted over every command that went on."""

    @property
    def percentiles(self) -> Percentiles | None:
        """How raw is stretched; None where it is multiplied."""
        return self.percentile_params if self.normalize == "percentile" else None

    @model_validator(mode="after")
    def _one_normalisation(self) -> Self:
        if self.percentiles and self.norm_factor is not None:
            raise ValueError("norm_factor has no effect with normalize percentile; leave one of them out")
        return self

    def lr_at(self, step: int) -> float:
        """The learning rate of a step, counted from 1."""
        rate = self.lr * min(1.0, step / self.warmup_steps) if self.warmup_steps else self.lr
        if not self.cooldown:
            return rate
        left = max(0, self.planned_steps + 1 - step)
        return rate * min(1.0, left / (self.cooldown * self.planned_steps + 1))

    @property
    def planned_steps(self) -> int:
        """Steps that whatever changes over a training is spread over."""
        return self.schedule_steps or self.num_iterations

    @property
    def changes_over_time(self) -> bool:
        """Whether a step is another in a longer training."""
        return self.cooldown > 0


class ContrastiveSettings(TrainSettings):
    """One point of the contrastive grid."""

    dataset: DatasetNames
    """Raw datasets inside every data file."""

    point_density: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Points per output voxel."""

    temperature: PositiveFloat = 0.05
    """Of the contrastive loss: a lower one weighs the nearest of the other points more."""

    levels: PositiveInt = 1
    """Decoder levels, the finest ones, whose features at a point are compared together; the bottom counts as one."""

    exclusion: NonNegativeFloat = 0.0
    """Points of one sample nearer to each other than this are no negatives; in units of the data's voxel size."""

    def check_model(self, model: ModelSettings) -> None:
        """Raise ValueError if the network has not so many levels."""
        model.check_levels(self.levels)


class RawAndLabels(Settings):
    """A pair of datasets in a data file."""

    raw: str
    """Intensities, or the embeddings a sparse head reads."""

    gt: str | None = None
    """Labels; 0 is background."""


class SegDataset(Settings):
    """What to train on and what to score."""

    train: RawAndLabels
    """What heads are trained on."""

    validate_: RawAndLabels | None = Field(default=None, alias="validate")
    """What `contraband validate` scores."""

    test: RawAndLabels | None = None
    """Kept for files of the original tool; no command reads it."""


class SegSettings(TrainSettings):
    """One point of the seg grid."""

    dataset: SegDataset
    """Datasets inside every data file, to train on and to score."""

    baseline: bool = False
    """Train end to end, without a contrastive checkpoint."""

    levels: PositiveInt = 1
    """Decoder levels, the finest ones, that the head looks at; the bottom of the network counts as one."""

    freeze_base: bool = False
    """Leave the base encoder as it is and train the head only."""

    seg_head: Literal["Simple", "Sparse"] = "Simple"
    """`Simple` for dense labels, `Sparse` for a few labelled points: the same layers, so either reads points too."""

    seg_out_channels: PositiveInt | None = None
    """Affinity channels; left out: as many as the network has dimensions, or as `offsets` lists."""

    offsets: tuple[Offset, ...] | None = None
    """Neighbour of each channel in voxels (z, y, x); left out: the nearest neighbours, one a dimension."""

    grow_boundary: NonNegativeInt = 0
    """Voxels of background to put between touching labels, on either side, before affinities are made."""

    min_labelled: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Patches with a smaller share of labelled voxels are drawn again."""

    draw: Literal["auto", "anywhere", "labelled"] = "auto"
    """Where patches lie: anywhere in the volume, or about labelled voxels; auto: `labelled` for classes only."""

    unknown: int = -1
    """This number in `gt` is not labelled, and never background; -1 and the largest unsigned number never are."""

    num_points: PositiveInt = 32
    """Labelled voxels of a sparse pipeline, half of them foreground, or each class as often."""

    points: Files | None = None
    """CSV file of labelled points, or a list of such, taken together; left out: drawn from `gt` with `seed`."""

    sparse_target: Literal["auto", "affinity", "foreground", "classes"] = "auto"
    """What labels teach: affinities (needs `gt`); of points, their label in all channels; or `classes`: 0 background, 1
    inside, 2 boundary, in points or `gt`, from which affinities are predicted. auto: affinities where there is `gt`."""

    joint: JointSettings | None = None
    """Denoising of labelled and unlabelled samples in the same steps; left out: labels alone."""

    folds: NonNegativeInt = 0
    """Stop where cross-validation over so many folds of the labels says, points one by one and volumes by connected
    pieces with whole objects; 0: after `num_iterations`."""

    held_out_every: PositiveInt | None = None
    """Steps between two looks at the held-out labels; left out: a fiftieth of `num_iterations`."""

    thresholds: tuple[Annotated[float, Field(ge=0, le=1)], ...] = (0.5,)
    """Agglomeration thresholds to score in validation."""

    has_background: bool = False
    """The network also predicts foreground, in a channel after the affinities; the rest is background."""

    @field_validator("num_points")
    @classmethod
    def _half_and_half(cls, num_points: int) -> int:
        if num_points % 2:
            raise ValueError(f"num_points must be even (half are foreground), got {num_points}")
        return num_points

    @property
    def changes_over_time(self) -> bool:
        """Whether a step is another in a longer training."""
        return self.cooldown > 0 or self.joint is not None or self.folds > 0

    @property
    def teaches(self) -> Literal["affinity", "foreground", "classes"]:
        """What labels teach, with `auto` decided."""
        if self.sparse_target != "auto":
            return self.sparse_target
        return "foreground" if self.dataset.train.gt is None else "affinity"

    @property
    def draws_about_labels(self) -> bool:
        """Whether patches lie about labelled voxels."""
        return self.draw == "labelled" or (self.draw == "auto" and self.teaches == "classes")

    def offsets_for(self, dims: int) -> tuple[Offset, ...]:
        """The neighbour of each affinity channel, (z, y, x) in voxels."""
        nearest: tuple[Offset, ...] = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))
        return self.offsets or nearest[3 - dims :]

    def outputs_for(self, dims: int) -> int:
        """Channels of the network's output."""
        return len(CLASSES) if self.teaches == "classes" else len(self.offsets_for(dims)) + self.has_background

    def check_model(self, model: ModelSettings) -> None:
        """Raise ValueError if the channels, the dimensions and the levels do not go together."""
        model.check_levels(self.levels)
        offsets = self.offsets_for(model.dims)
        if self.seg_out_channels is not None and self.seg_out_channels != len(offsets):
            raise ValueError(
                f"seg_out_channels is {self.seg_out_channels}, but a {model.dims}D network has {len(offsets)} "
                "offsets; leave it out or list the offsets"
            )
        if model.dims == 2 and any(offset[0] for offset in offsets):
            raise ValueError("offsets of a 2D network must stay in the section (z = 0)")

    @model_validator(mode="after")
    def _has_targets(self) -> Self:
        if self.dataset.train.gt is None and self.points is None:
            raise ValueError("dataset.train.gt is missing; give it, or a CSV of points for a sparse pipeline")
        if self.folds == 1:
            raise ValueError("folds is 1, and with one fold all points are held out; use 2 or more, or 0")
        if self.joint is not None and self.freeze_base:
            raise ValueError("joint trains the encoder, which freeze_base keeps as it is; leave out one of them")
        return self
