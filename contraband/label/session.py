"""A labelling session without its page: points in; predictions, segments, proposals and a score out.

The page, tests and simulated users drive the same session.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from funlib.geometry import Roi
from numpy.typing import NDArray
from pydantic import Field

from blockwise.arrays.volume import Volume, info
from blockwise.errors import BadInput
from blockwise.grid import Voxels
from blockwise.settings import Settings
from blockwise.stages.affinity import NEAREST
from contraband.label.image import FeatureImage
from contraband.label.proposals import Labels, LabelScore, VoxelPool, draw_candidates, propose, score
from contraband.label.record import Point, PointsRecord, check_point, latest
from contraband.label.segmenting import segment_box
from contraband.models.classes import CLASSES, INSIDE, affinities_of
from contraband.models.normalise import Percentiles
from contraband.quick.file import Recipe, save_head
from contraband.quick.fitting import HeadKind, fit
from contraband.quick.gaussian import GaussianFeatures, GaussianScale
from contraband.quick.head import QuickHead
from contraband.quick.predictor import quantised
from contraband.volumes.settings import VolumeSettings

BACKGROUND = 0.5
"""Once voxels are labelled background, those with affinities of at most this are no fragments."""
SCALES: dict[int, tuple[float, ...]] = {2: (1.0, 2.0, 4.0, 8.0), 3: (1.0, 2.0, 4.0)}


class LabelSettings(Settings):
    """How a session learns."""

    head: HeadKind = "logistic"
    """forest or logistic: the latter is fitted in 10 ms instead of 200, and found more nuclei by the same clicks."""
    scales: Annotated[tuple[GaussianScale, ...], Field(min_length=1)] | None = None
    """Of the Gaussian features, in voxels; None: 1, 2, 4 and in 2D also 8."""
    stretch: Literal["section", "volume"] | None = None
    """Whether raw is stretched between its percentiles first: of each section, for images that differ in exposure, or
    of the whole volume. All of raw is read for it."""
    seed: int = 0


class LabelSession:
    """An image, labelled voxel by voxel.

    Example:
        session = LabelSession(raw, VolumeSettings(output=Path("out.zarr")))
        session.click((0, 20, 30), 1)
        session.click((0, 20, 41), 2)
        segments = session.segment(Roi((0, 0, 0), raw.shape))
    """

    def __init__(
        self,
        raw: Volume | NDArray[Any],
        volume: VolumeSettings,
        settings: LabelSettings | None = None,
        record: PointsRecord | None = None,
    ) -> None:
        """volume: how fragments are cut and merged; sections stand alone if it says so, or if there is one only.

        record: where points are kept, entered already; None: in memory. Raises BadInput if raw is no image.
        """
        chosen = settings or LabelSettings()
        shape = raw.shape if isinstance(raw, np.ndarray) else info(raw).shape
        is_flat = volume.fragments.per_section or (len(shape) == 3 and shape[0] == 1)
        dims = 2 if is_flat else 3
        self.image = FeatureImage(raw, _recipe(raw, dims, chosen))
        self.kind: HeadKind = chosen.head
        self._seed = chosen.seed
        self._volume = volume
        self._record = record
        self._points: list[Point] = [] if record is None else list(record.points)
        self._features: dict[Voxels, NDArray[np.float32]] = {}
        self._passed: list[Voxels] = []
        self._candidates: VoxelPool | None = None
        self._head: QuickHead | None = None
        self._seen: tuple[Roi, QuickHead, NDArray[np.float32]] | None = None

    @property
    def shape(self) -> Voxels:
        """Of the image, (z, y, x)."""
        return self.image.shape

    @property
    def points(self) -> tuple[Point, ...]:
        """All points, in the order of their clicks."""
        return tuple(self._points)

    @property
    def is_ready(self) -> bool:
        """Whether there are labels of two classes, which is all that a prediction needs."""
        return len({point.label for point in latest(self._points)}) > 1

    def warm(self, box: Roi) -> None:
        """Do ahead of the first click what it would wait for: the features of a box, and code that is loaded once."""
        self._check_box(box)
        for _ in self.image.over_tiles(box, len):
            pass
        pool = self._pool()
        if self._head is None and not self.is_ready:
            taught = np.arange(len(pool.features)) % 2 + 1
            self._fitted(pool.features[:8], taught[:8]).probabilities(pool.features)
            offsets = self.image.recipe.offsets
            segment_box(np.full((len(offsets), *box.shape[:1], 8, 8), 99, np.uint8), offsets, self.volume())

    def click(self, voxel: Sequence[int], label: int) -> Point:
        """Label a voxel; its file has the point when this returns. BadInput for one outside, or an unknown class."""
        z, y, x = (int(at) for at in voxel)
        point = Point((z, y, x), int(label))
        check_point(point, self.shape)
        if self._record is not None:
            self._record.add(point)
        self._points.append(point)
        self._head = None
        return point

    def undo(self) -> Point | None:
        """Take the last point back, and say which it was; None if there is none."""
        if not self._points:
            return None
        if self._record is not None:
            self._record.undo()
        self._head = None
        return self._points.pop()

    def head(self) -> QuickHead:
        """The head that learned from all points; fitted again when these have changed. BadInput if it cannot be."""
        if self._head is None:
            labels = self._labels()
            self._head = self._fitted(labels.features, labels.classes)
        return self._head

    def predict(self, box: Roi) -> NDArray[np.float32]:
        """Probabilities (3, z, y, x) of the classes, those of a run with this head. BadInput without labels."""
        head = self.head()
        if self._seen is None or self._seen[0] != box or self._seen[1] is not head:
            self._check_box(box)
            result = np.empty((len(CLASSES), *box.shape), np.float32)
            for tile, found in self.image.over_tiles(box, head.of_volume):
                result[(slice(None), *(tile - box.begin).to_slices())] = found
            self._seen = (box, head, result)
        return self._seen[2]

    def affinities(self, box: Roi) -> NDArray[np.uint8]:
        """(K, z, y, x) uint8 of a box, seen by itself; the neighbours are those of `image.recipe.offsets`."""
        return quantised(affinities_of(self.predict(box)[INSIDE], self.image.recipe.offsets))

    def segment(self, box: Roi) -> NDArray[np.uint64]:
        """Segments (z, y, x) of a box, seen by itself; 0 is background. By the rules of the volume's settings."""
        return segment_box(self.affinities(box), self.image.recipe.offsets, self.volume())

    def propose(self) -> tuple[Voxels, int]:
        """The voxel whose label would help most, and what it is taken for now; another one each time."""
        voxel, label = propose(self._pool(), self.head(), self._labels(), self._passed)
        self._passed.append(voxel)
        return voxel, label

    def score(self, given_up: Callable[[], bool] = lambda: False) -> LabelScore | None:
        """How well labels are told that were left out of the fit; None while a class has one label only.

        given_up: asked after each fold whether nobody waits for it any more; then it is None too.
        """
        found = None
        for found in score(self._labels(), self._fitted, self._seed) if self.is_ready else ():
            if found is None and given_up():
                return None
        return found

    def volume(self) -> VolumeSettings:
        """The settings by which segments are made: in 2D of sections alone, with a background if that has labels."""
        rules: dict[str, Any] = {"per_section": self.image.recipe.dims == 2}
        has_background = any(point.label == 0 for point in latest(self._points))
        if has_background and self._volume.fragments.background is None:
            rules["background"] = BACKGROUND
        return self._volume.model_copy(update={"fragments": self._volume.fragments.model_copy(update=rules)})

    def save_head(self, path: Path) -> None:
        """Write the head, for `model: {head: FILE}`. BadInput if it cannot be fitted."""
        save_head(path, self.head(), self.image.recipe)

    def _fitted(self, features_PF: NDArray[np.float32], classes_P: NDArray[np.int64]) -> QuickHead:
        scaling = self._pool().scaling if self.kind == "logistic" else None
        return fit(self.kind, features_PF, classes_P, self._seed, scaling)

    def _labels(self) -> Labels:
        points = latest(self._points)
        for point in points:
            if point.voxel not in self._features:
                self._features[point.voxel] = self.image.features_at(point.voxel)
        count = self.image.recipe.gaussian.count(self.image.recipe.dims)
        features = np.array([self._features[point.voxel] for point in points], np.float32).reshape(-1, count)
        voxels = np.array([point.voxel for point in points], np.int64).reshape(-1, 3)
        return Labels(voxels, np.array([point.label for point in points], np.int64), features)

    def _pool(self) -> VoxelPool:
        if self._candidates is None:
            self._candidates = draw_candidates(self.image, self._seed)
        return self._candidates

    def _check_box(self, box: Roi) -> None:
        whole = Roi((0, 0, 0), self.shape)
        if box.empty or not whole.contains(box):
            raise BadInput("box", "lies outside the volume", got=box, wanted=f"inside of {whole}")


def _recipe(raw: Volume | NDArray[Any], dims: int, settings: LabelSettings) -> Recipe:
    """What the head will be shown: in 3D, kernels as long in the world along z as along x, where that is known."""
    z_scale = 1.0
    if dims == 3 and not isinstance(raw, np.ndarray):
        size = info(raw).voxel_size
        z_scale = min(4.0, size[2] / size[0])
    features = GaussianFeatures(scales=settings.scales or SCALES[dims], z_scale=z_scale)
    percentiles = Percentiles(per=settings.stretch) if settings.stretch else None
    return Recipe(dims=2 if dims == 2 else 3, gaussian=features, percentiles=percentiles, offsets=NEAREST[3 - dims :])
