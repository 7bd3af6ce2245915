"""A checkpoint as a function: raw of a tile in, affinities or embeddings of the tile out.

Normalisation is a factor on each voxel (levels of a whole section or volume are applied before), every level is cropped
to whole steps, and the network evaluates averaged weights: so a voxel's value does not depend on its tile, as long as
tiles start at multiples of `stride`.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from blockwise.errors import BadInput
from contraband.models.activations import peak_bytes
from contraband.models.averaging.base import whole_strides
from contraband.models.checkpoints import averaged, load_checkpoint
from contraband.models.classes import CLASSES, INSIDE, affinities_of
from contraband.models.engines.base import Engine, check_installed
from contraband.models.engines.quantised import InputRanges
from contraband.models.folder import latest_checkpoint
from contraband.models.halving import Halving
from contraband.models.hardware import Hardware, choose_device, fetching, uses_bfloat16
from contraband.models.networks import ContrastiveVolumeNet, SegmentationNet
from contraband.models.normalise import Percentiles
from contraband.models.settings import ModelSettings
from contraband.models.unet import UNet

Shape3 = tuple[int, int, int]


class Predictor:
    """A loaded network. All shapes are (z, y, x) in voxels; a 2D network predicts each section by itself."""

    def __init__(self, content: dict[str, Any], kind: str, hardware: Hardware, levels: int = 1) -> None:
        settings = ModelSettings.parse(content["model"], "checkpoint: model")
        self._network: SegmentationNet | ContrastiveVolumeNet = _with_weights(content, settings)
        hardware.place(self._network, settings.dims).eval()
        self.kind = kind
        """affinities or embeddings."""
        self._hardware = hardware
        self._engine: Engine | None = None
        self.networks: Path | None = None
        """Folder in which OpenVINO's conversions are kept, if they are."""
        self._compute = self._forward
        self._base: UNet = self._network.base
        self._flat = (0,) * (3 - settings.dims)
        self.is_flat = settings.dims == 2
        """Whether each section is predicted by itself."""
        self.in_channels = settings.in_channels
        self.context: Shape3 = _three(self._flat, (lost // 2 for lost in self._base.context))
        """Voxels lost on each side."""
        self.stride: Shape3 = _three((1,) * (3 - settings.dims), self._base.step)
        """Tiles starting at multiples of this give the same values as the whole volume."""
        self.offsets: list[list[int]] = [] if kind == "embeddings" else content["offsets"]
        """The neighbour (z, y, x) each affinity channel joins a voxel with."""
        self.levels = levels if kind == "embeddings" else int(content["head"].get("levels", 1))
        """Decoder levels that embeddings consist of, or that the head looks at."""
        says_classes = kind == "affinities" and content["head"].get("says") == "classes"
        self._margin: Shape3 | None = self._reach() if says_classes else None
        self.channels = settings.channels_of(levels) if kind == "embeddings" else content["head"]["out_channels"]
        self.has_foreground = kind == "affinities" and self.channels == len(self.offsets) + 1
        """Whether the last channel says how sure it is that a voxel is foreground."""
        if self._margin is not None:
            self.context = _three((), (c + more for c, more in zip(self.context, self._margin, strict=True)))
            self.has_foreground = bool(content["head"]["foreground"])
            self.channels = len(self.offsets) + self.has_foreground
        self.halving = Halving(self.context, self.stride)
        self.norm_factor = float(content["norm_factor"])
        self.percentiles = Percentiles.parse(found, "checkpoint") if (found := content.get("percentiles")) else None
        """How raw has to be stretched before it is given to the network; None where it is taken as it is stored."""
        self.step = int(content["step"])
        self.fingerprint = _fingerprint(content, kind, self.levels)
        """sha256 over the weights and everything else that changes what is predicted."""

    def fit_output(self, shape: Sequence[int]) -> Shape3:
        """The largest valid output tile not above `shape`, but at least one stride."""
        return whole_strides(shape, self.stride)

    def input_shape(self, output: Sequence[int]) -> Shape3:
        """Extents of raw needed for an output tile."""
        return _three((), (n + 2 * c for n, c in zip(output, self.context, strict=True)))

    def needed_bytes(self, tile: Sequence[int]) -> int:
        """Memory that a tile takes in float32, counted without computing it; the same on every machine."""
        twin = copy.copy(self)
        twin._network = copy.deepcopy(self._network).to("meta")
        twin._base = twin._network.base
        z, y, x = self.input_shape(tile)
        return peak_bytes(twin._forward, (z, self.in_channels, y, x) if self._flat else (1, self.in_channels, z, y, x))

    def compute_in_openvino(
        self, folder: Path | None = None, precision: str = "float32", ranges: InputRanges = ()
    ) -> None:
        """Let OpenVINO compute the network from now on, on the CPU; the values differ by rounding.

        folder: of converted networks, where other processes find it; None: it is converted for this one alone.
        precision: float32, bfloat16, or int8 with the ranges of its convolutions.
        """
        from contraband.models.engines.openvino import convert_torch

        self.networks = folder
        self._engine = convert_torch(self._module(), self._kept(), precision, ranges)

    def ranges(self, tiles: Iterable[NDArray[Any]]) -> InputRanges:
        """Between which values convolutions take their inputs in OpenVINO. tiles: one or more, as for `__call__`."""
        from contraband.models.engines.openvino import watch_torch

        twin = copy.copy(self)
        twin._engine = engine = watch_torch(self._module(), self._kept())
        for raw in tiles:
            twin(raw)
        assert engine.ranges is not None
        return engine.ranges

    def _kept(self) -> Any:
        from contraband.models.engines.openvino import NetworkFolder

        return NetworkFolder(self.networks, self.fingerprint) if self.networks is not None else None

    def _module(self) -> nn.Module:
        """All that is computed of a batch, as OpenVINO takes it."""
        from contraband.models.engines.folded import folded

        twin = copy.copy(self)
        twin._base = folded(self._base)
        return _Whole(nn.ModuleList([self._network, twin._base]), twin._forward).eval()

    def compile(self) -> None:
        """Let torch compile the network for the shape of a tile, at the first one; the values differ by rounding."""
        self._compute = torch.compile(self._forward, dynamic=False)

    def __call__(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        """Affinities in [0, 1] or embeddings, float32 (C, z, y, x), of raw (z, y, x) or (channel, z, y, x).

        raw: uint8, uint16 or float, of `input_shape(output)`. Raises BadInput if it has other extents.
        """
        with torch.inference_mode():
            array: NDArray[np.float32] = self._values(raw).contiguous().cpu().numpy()
        return array

    def quantised(self, raw: NDArray[Any]) -> NDArray[np.uint8]:
        """The same as uint8, 255 for 1, rounded to the nearest of 256 steps where the network is."""
        with torch.inference_mode():
            return fetching(quantise(self._values(raw)))()

    def begin(self, raw: NDArray[Any]) -> Callable[[], NDArray[Any]]:
        """Begin with a tile; what is returned waits for it, and gives it as it is stored: uint8, or float16."""
        with torch.inference_mode():
            values = self._values(raw)
            return fetching(quantise(values) if self.kind == "affinities" else values.half())

    def _values(self, raw: NDArray[Any]) -> torch.Tensor:
        """(C, z, y, x) float32, on the network's device unless its memory did not suffice for the whole tile."""
        return self.halving(self._computed, raw)

    def _computed(self, raw: NDArray[Any]) -> torch.Tensor:
        """The same of a tile, or of half of one, at once."""
        output = tuple(n - 2 * c for n, c in zip(raw.shape[-3:], self.context, strict=True))
        if any(n < s or n % s for n, s in zip(output, self.stride, strict=True)):
            wanted = list(self.input_shape(self.fit_output([max(n, 1) for n in output])))
            raise BadInput("tile", "does not fit the network", got=list(raw.shape), wanted=wanted)
        values = self._hardware.floats(raw if raw.ndim == 4 else raw[None]) * self.norm_factor
        # a 2D network sees the sections as a batch
        batch = values[None] if not self._flat else values.transpose(0, 1)
        if self._engine is not None:
            result = torch.from_numpy(self._engine(batch.numpy()))
        else:
            with self._hardware.arithmetic():
                result = self._compute(batch).float()
        result = result[0] if not self._flat else result.transpose(0, 1)
        return result if self._margin is None else self._affinities(result, self._margin)

    def _affinities(self, classes: torch.Tensor, margin: Shape3) -> torch.Tensor:
        """Affinities (K, z, y, x) from the probabilities of classes, and foreground after them, without the margin."""
        found = affinities_of(classes[INSIDE].cpu().numpy(), self.offsets)
        values = [torch.from_numpy(found).to(classes.device)]
        if self.has_foreground:
            values.append(1 - classes[CLASSES.index("background")][None])
        kept = (slice(edge, n - edge) for edge, n in zip(margin, classes.shape[1:], strict=True))
        return torch.cat(values)[(slice(None), *kept)]

    def _reach(self) -> Shape3:
        """Whole strides to either side that hold the neighbours of every voxel."""
        far = (max(abs(offset[axis]) for offset in self.offsets) for axis in range(3))
        return _three((), (-(-n // step) * step for n, step in zip(far, self.stride, strict=True)))

    def _forward(self, batch: torch.Tensor) -> torch.Tensor:
        levels = self._base.decoded(batch, self.levels)
        if self.kind == "embeddings":
            return self._base.aligned(levels)
        assert isinstance(self._network, SegmentationNet)
        logits = self._network.from_levels(levels).float()
        return logits.sigmoid() if self._margin is None else logits.softmax(dim=1)


class _Whole(nn.Module):
    """A network with its last function, as one module."""

    def __init__(self, network: nn.Module, forward: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.network = network
        self.whole = forward

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """What is predicted of a batch (B, C, ...)."""
        return self.whole(batch)


def quantise(affinities: torch.Tensor) -> torch.Tensor:
    """Affinities in [0, 1] as uint8, rounded to the nearest of 256 steps."""
    return affinities.clamp(0, 1).mul_(255).round_().to(torch.uint8)


def load_predictor(
    checkpoint: Path,
    kind: str,
    device: str = "auto",
    precision: str = "float32",
    levels: int = 1,
    engine: str = "torch",
) -> Predictor:
    """The network in a checkpoint file, or in the newest checkpoint of a folder, ready to predict.

    precision: float32, bfloat16, or auto (bfloat16 where the processor has it); only float32 keeps tiles equal to the
    whole to 1e-5. Affinities need a segmentation checkpoint; embeddings come from either kind, and are those of the
    `levels` finest decoder levels. engine: torch, or openvino on a CPU, where auto is float32.
    """
    path = latest_checkpoint(checkpoint)
    content = load_checkpoint(path)
    if kind not in ("affinities", "embeddings"):
        raise BadInput("kind", "is not known", got=kind, wanted="affinities or embeddings")
    if kind == "affinities" and content["kind"] != "segmentation":
        raise BadInput(path, "predicts no affinities", got=content["kind"], wanted="a segmentation checkpoint")
    if precision not in ("auto", "float32", "bfloat16"):
        raise BadInput("precision", "is not known", got=precision, wanted="auto, float32 or bfloat16")
    most = ModelSettings.parse(content["model"], "checkpoint: model").most_levels
    if not 1 <= levels <= most:
        raise BadInput("levels", "the network has not so many", got=levels, wanted=f"1 to {most}")
    where = choose_device("cpu" if engine == "openvino" else device)
    try:
        predictor = Predictor(content, kind, Hardware(where, uses_bfloat16(precision, where)), levels)
    except ValueError as error:
        raise BadInput(path, f"is a damaged checkpoint: {error}", todo="copy it again, or train again") from None
    if engine == "openvino":
        check_installed(engine, "model.engine")
        predictor.compute_in_openvino(precision="bfloat16" if precision == "bfloat16" else "float32")
    return predictor


def _with_weights(content: dict[str, Any], settings: ModelSettings) -> SegmentationNet | ContrastiveVolumeNet:
    """The network with the weights to evaluate; ValueError if they are those of another, or no numbers."""
    weights = averaged(content)
    diverged = next((name for name, weight in weights.items() if not torch.isfinite(weight).all()), None)
    if diverged is not None:
        raise ValueError(f"weights that are NaN or infinite, such as {diverged}, from which nothing can be predicted")
    try:
        network = _network(content, settings)
        network.load_state_dict(weights)
    except (KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"weights that do not belong to its network ({type(error).__name__})") from None
    return network


def _network(content: dict[str, Any], settings: ModelSettings) -> SegmentationNet | ContrastiveVolumeNet:
    head = content["head"]
    levels = int(head.get("levels", 1))  # checkpoints from before there were several do not say it
    if content["kind"] == "contrastive":
        return ContrastiveVolumeNet(settings, levels)
    return SegmentationNet(settings, head["seg_head"], head["out_channels"], levels, bool(head.get("restores")))


def _fingerprint(content: dict[str, Any], kind: str, levels: int) -> str:
    shaping = [kind, content["model"], content["offsets"], content["norm_factor"]]
    shaping += [found] if (found := content.get("percentiles")) else []
    shaping += [f"{levels} levels"] if levels > 1 else []
    head = content["head"]
    shaping += [CLASSES, head["foreground"]] if head.get("says") == "classes" else []
    digest = hashlib.sha256(repr(tuple(shaping)).encode())
    for name, weight in sorted(averaged(content).items()):
        digest.update(f"{name}{tuple(weight.shape)}".encode())
        digest.update(weight.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _three(front: Sequence[int], rest: Any) -> Shape3:
    z, y, x = (*front, *(int(n) for n in rest))
    return z, y, x
