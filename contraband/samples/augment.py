"""Random views of training samples as batched tensor operations, the same in a loader process and on a GPU.

Every sample has a seed and draws its own geometry, so a batch does not depend on where or with whom it is made. One map
from output voxels to source voxels serves raw, labels and points alike:

    source(y) = matrix y + displacement(y)      (positions relative to the centres of output and source)

The matrix mirrors, transposes, rotates in the y-x plane and zooms in it.

Shape letters: B samples, P points, D = 3 (z, y, x), then Z, Y, X. A 2D sample is one section, Z = 1. Positions are in
voxels and count from the middle of voxel 0. Source and output share their centre: extents differ by even numbers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from contraband.samples.photometry import change_intensities, gaussian
from contraband.samples.settings import Augmentations

Shape3 = tuple[int, int, int]


@dataclass(frozen=True)
class Geometry:
    """One map for each sample of a batch."""

    matrix: Tensor
    """Rotation times signed permutation; its y and x rows times `shrink`."""

    control: Tensor | None
    """Displacements (B, 3, ...) in voxels at control points; None where nothing is displaced."""

    spacing: Shape3
    """Voxels between control points; the grid is centred on the sample."""

    shrink: tuple[float, ...] | None = None
    """Source voxels in an output voxel along y and x, for each sample; None: one."""

    @property
    def moves_whole_voxels(self) -> bool:
        """True if the map only mirrors and transposes, so that values are copied, never interpolated."""
        whole = self.control is None and self.shrink is None
        return whole and bool((self.matrix == self.matrix.round()).all())

    def to_source(self, positions_BPD: Tensor) -> Tensor:
        """Where points of the output lie in the source, both relative to the centre."""
        moved = torch.einsum("bij,bpj->bpi", self.matrix, positions_BPD)
        return moved if self.control is None else moved + self._displacement(positions_BPD)

    def to_output(self, positions_BPD: Tensor, rounds: int = 30) -> Tensor:
        """The inverse of `to_source`, to 1e-3 voxels for displacements that do not fold space."""
        inverse = self._inverse()
        found = torch.einsum("bij,bpj->bpi", inverse, positions_BPD)
        if self.control is None:
            return found
        for _ in range(rounds):
            rest = positions_BPD - self._displacement(found)
            found = torch.einsum("bij,bpj->bpi", inverse, rest)
        return found

    def _inverse(self) -> Tensor:
        """Output from source: the transposed matrix, whose columns for y and x are divided by `shrink` squared."""
        turned = self.matrix.transpose(1, 2)
        if self.shrink is None:
            return turned
        return turned / torch.tensor([(1.0, s * s, s * s) for s in self.shrink], device=turned.device)[:, None]

    def _displacement(self, positions_BPD: Tensor) -> Tensor:
        """Displacements (B, P, 3), linear between control points."""
        assert self.control is not None
        extents = torch.tensor(self.control.shape[2:], device=positions_BPD.device)
        steps = positions_BPD / torch.tensor(self.spacing, device=positions_BPD.device)
        grid = (steps * 2 / (extents - 1).clamp(min=1)).flip(-1)[:, None, None]  # (B, 1, 1, P, 3), x first
        values = functional.grid_sample(self.control, grid, padding_mode="border", align_corners=True)
        return values[:, :, 0, 0].transpose(1, 2)


class Augmenter:
    """Draws and applies the augmentations of some settings for samples of fixed output extents."""

    def __init__(self, settings: Augmentations, output_shape: Shape3) -> None:
        self.settings = settings
        self.output_shape = output_shape
        jitter = settings.elastic_params.jitter_sigma
        self._jitter = jitter if output_shape[0] > 1 else (0.0, *jitter[1:])  # a section stays in its plane
        self.zoom_interval = settings.elastic_params.scale_interval if settings.elastic else (1.0, 1.0)
        self.source_shape = self._source_shape()

    def draw(self, seeds: Sequence[int], device: torch.device, view: int = 0) -> Geometry:
        """The geometry of each sample; another `view` of the same seed is drawn independently."""
        randoms = [np.random.default_rng([seed, view, 1]) for seed in seeds]
        matrices = np.stack([self._matrix(random) for random in randoms])
        params, control = self.settings.elastic_params, None
        shrink = None
        if self.zoom_interval != (1.0, 1.0):
            shrink = tuple(1 / _zoom(self.zoom_interval, random) for random in randoms)
            matrices *= np.array([(1, s, s) for s in shrink])[:, :, None]
        if self.settings.elastic and any(self._jitter):
            spaced = zip(self.output_shape, params.control_point_spacing, strict=True)
            shape = [2 * math.ceil(extent / 2 / spacing) + 1 for extent, spacing in spaced]
            sigma = np.array(self._jitter)[:, None, None, None]
            jitter = np.stack([random.normal(size=(3, *shape)) * sigma for random in randoms])
            if shrink is not None:  # a displacement is as large in the sample as without the zoom
                jitter[:, 1:] *= np.reshape(shrink, (-1, 1, 1, 1, 1))
            control = torch.from_numpy(jitter).float().to(device)
        return Geometry(torch.from_numpy(matrices).float().to(device), control, params.control_point_spacing, shrink)

    def raw(self, source: Tensor, geometry: Geometry, seeds: Sequence[int], view: int = 0) -> Tensor:
        """Raw (B, C, Z, Y, X) of the output, moved and with changed intensities, from normalised raw of the source."""
        if geometry.shrink is not None:
            pairs = zip(source, geometry.shrink, strict=True)
            source = torch.stack([_softened(sample, shrink) for sample, shrink in pairs])
        moved = move(source, geometry, self.output_shape)
        return change_intensities(moved, self.settings, seeds, view)

    def _matrix(self, random: np.random.Generator) -> np.ndarray:
        """Output to source: a signed permutation of axes, then a rotation in the y-x plane."""
        matrix = np.eye(3)
        if self.settings.simple:
            params = self.settings.simple_params
            mirrored = (0, 1, 2) if params.mirror_only is None else params.mirror_only
            signs = np.where(np.isin(range(3), mirrored) & (random.random(3) < 0.5), -1.0, 1.0)
            allowed = (0, 1, 2) if params.transpose_only is None else params.transpose_only
            order = _shuffle_equal(allowed, self.output_shape, random)
            matrix = np.diag(signs) @ matrix[order]
        if self.settings.elastic:
            low, high = self.settings.elastic_params.rotation_interval
            angle = low + (high - low) * random.random()
            if angle:
                c, s = math.cos(angle), math.sin(angle)
                matrix = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ matrix
        return matrix

    def _source_shape(self) -> Shape3:
        """Extents that cover every output these settings can draw."""
        z, y, x = map(float, self.output_shape)
        margin = [0.0, 0.0, 0.0]
        if self.settings.elastic:
            params = self.settings.elastic_params
            margin = [4 * sigma + (1 if sigma else 0) for sigma in self._jitter]
            if any(params.rotation_interval):
                y, x = _rotated_extents(y, x, *params.rotation_interval)
            largest = max(1.0, 1 / self.zoom_interval[0])
            y = y * largest
            x = x * largest
            margin[1:] = [largest * extra for extra in margin[1:]]
        return tuple(  # type: ignore[return-value]
            n + 2 * math.ceil((wanted - n) / 2 + extra)
            for n, wanted, extra in zip(self.output_shape, (z, y, x), margin, strict=True)
        )


def move(source: Tensor, geometry: Geometry, output_shape: Shape3) -> Tensor:
    """Output (B, C, Z, Y, X) of a source (B, C, ...): floats by linear interpolation, whole numbers by nearest voxel.

    Beyond the source floats are mirrored and whole numbers are -1.
    """
    if geometry.moves_whole_voxels:
        matrices = geometry.matrix.round().long().cpu().numpy()
        pairs = zip(source, matrices, strict=True)
        return torch.stack([_permuted(one, matrix, output_shape) for one, matrix in pairs])
    positions = geometry.to_source(_voxels(output_shape, source.device).expand(len(source), -1, -1))
    index = positions + _middle(source.shape[2:], source.device)
    if source.is_floating_point():
        extents = torch.tensor(source.shape[2:], device=source.device)
        grid = torch.where(extents > 1, index * 2 / (extents - 1).clamp(min=1) - 1, 0.0).flip(-1)
        grid = grid.reshape(len(source), *output_shape, 3)
        return functional.grid_sample(source, grid, padding_mode="reflection", align_corners=True)
    return _nearest(source, index, output_shape)


def to_relative(positions_BPD: Tensor, shape: Sequence[int]) -> Tensor:
    """Positions counted from voxel 0 of extents `shape`, made relative to the centre."""
    return positions_BPD - _middle(shape, positions_BPD.device)


def to_voxels(positions_BPD: Tensor, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Nearest whole voxels (B, P, 3) of positions relative to the centre, and which (B, P) lie inside `shape`."""
    voxels = (positions_BPD + _middle(shape, positions_BPD.device)).round().long()
    extents = torch.tensor(shape, device=voxels.device)
    inside = ((voxels >= 0) & (voxels < extents)).all(-1)
    return torch.where(inside[..., None], voxels, 0), inside


def _nearest(source: Tensor, index_BPD: Tensor, output_shape: Shape3) -> Tensor:
    voxels = index_BPD.round().long()
    extents = torch.tensor(source.shape[2:], device=source.device)
    inside = ((voxels >= 0) & (voxels < extents)).all(-1)
    z, y, x = torch.where(inside[..., None], voxels, 0).unbind(-1)
    flat = (z * source.shape[3] + y) * source.shape[4] + x
    taken = source.flatten(2).gather(2, flat[:, None].expand(-1, source.shape[1], -1))
    return torch.where(inside[:, None], taken, -1).reshape(*source.shape[:2], *output_shape)


def _permuted(source: Tensor, matrix: np.ndarray, output_shape: Shape3) -> Tensor:
    """Copy voxels of (C, Z, Y, X) by a signed permutation; source[..., matrix @ y] becomes output[..., y]."""
    axes = [int(np.flatnonzero(matrix[:, axis])[0]) for axis in range(3)]  # source axis of each output axis
    flips = [1 + axis for axis in range(3) if matrix[axis].sum() < 0]
    turned = source.flip(flips).permute(0, *(1 + axis for axis in axes))
    for axis, extent in enumerate(output_shape, start=1):
        turned = turned.narrow(axis, (turned.shape[axis] - extent) // 2, extent)
    return turned


def _shuffle_equal(allowed: Sequence[int], shape: Shape3, random: np.random.Generator) -> list[int]:
    """A random order of axes in which only allowed axes of equal extents change places."""
    orders = [
        list(order)
        for order in itertools.permutations(range(3))
        if all(i == j or (i in allowed and j in allowed and shape[i] == shape[j]) for i, j in enumerate(order))
    ]
    return orders[int(random.integers(len(orders)))]


def _rotated_extents(y: float, x: float, low: float, high: float) -> tuple[float, float]:
    """The largest bounding box of a y-x rectangle turned by any angle of an interval."""
    angles = np.linspace(low, high, 181)
    c, s = np.abs(np.cos(angles)), np.abs(np.sin(angles))
    return float((y * c + x * s).max()), float((y * s + x * c).max())


def _zoom(interval: tuple[float, float], random: np.random.Generator) -> float:
    """A factor of the interval; halving and doubling are equally likely."""
    low, high = np.log(interval)
    return float(np.exp(low + (high - low) * random.random()))


def _softened(raw: Tensor, shrink: float) -> Tensor:
    """Raw (C, Z, Y, X) without the detail that is lost when `shrink` voxels become one."""
    width = max(0.0, (shrink - 1) / 2)
    return gaussian(raw, [0.0, width, width])


def _middle(shape: Sequence[int], device: torch.device) -> Tensor:
    return (torch.tensor(shape, device=device, dtype=torch.float32) - 1) / 2


def _voxels(shape: Shape3, device: torch.device) -> Tensor:
    """Positions (1, Z Y X, 3) of all voxels relative to the centre."""
    axes = [torch.arange(n, device=device, dtype=torch.float32) - (n - 1) / 2 for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(1, -1, 3)
