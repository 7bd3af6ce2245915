"""A labelling session without its page: points in; predictions, segments, proposals and a score out.

The page, tests and simulated users drive the same session.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from funlib.geometry import Roi
from numpy.typing import NDArray

from blockwise.arrays.volume import Volume, info
from blockwise.errors import BadInput
from blockwise.grid import Voxels
from contraband.label.image import FeatureImage
from contraband.label.pairs import LabelPair, PairsRecord, check_pair, taught_by, used
from contraband.label.proposals import Labels, LabelScore, VoxelPool, draw_candidates, propose, score
from contraband.label.record import Point, PointsRecord, check_point, latest
from contraband.label.segmenting import segment_box
from contraband.label.settings import LabelSettings, recipe_of
from contraband.models.averaging.base import as_uint8
from contraband.models.classes import CLASSES, INSIDE, affinities_of
from contraband.quick.file import save_head
from contraband.quick.fitting import HeadKind, fit
from contraband.quick.head import QuickHead
from contraband.volumes.channels import shown_channels
from contraband.volumes.settings import VolumeSettings

BACKGROUND = 0.5
"""Once voxels are labelled background, those with affinities of at most this are no fragments."""


class Network(Protocol):
    """A trained network that tells classes of this image."""

    path: Path
    """Its checkpoint."""
    offsets: tuple[Voxels, ...]
    """The neighbours of the affinities that a run makes of it."""

    def of_box(self, box: Roi) -> NDArray[np.float32]:
        """Probabilities (3, z, y, x)."""


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
        pairs: PairsRecord | None = None,
    ) -> None:
        """volume: how fragments are cut and merged; sections stand alone if it says so, or if there is one only.

        record, pairs: where points, entered already, and pairs are kept; None: in memory. Raises BadInput if raw is no
        image.
        """
        chosen = settings or LabelSettings()
        shape = raw.shape if isinstance(raw, np.ndarray) else info(raw).shape
        is_flat = volume.fragments.per_section or (len(shape) in (3, 4) and shape[-3] == 1)
        dims = 2 if is_flat else 3
        channels = shown_channels(shape, volume.volume.channels)
        self.image = FeatureImage(raw, recipe_of(raw, dims, chosen, max(1, len(channels))), channels)
        self.kind: HeadKind = chosen.head
        self._seed = chosen.seed
        self._volume = volume
        self._record = record
        self._pairs_record = pairs
        self._points: list[Point] = [] if record is None else list(record.points)
        self._pairs: list[LabelPair] = [] if pairs is None else list(pairs.pairs)
        self._clicks: list[Point | LabelPair] = [*self._points, *self._pairs]
        self._features: dict[Voxels, NDArray[np.float32]] = {}
        self._passed: list[Voxels] = []
        self._candidates: VoxelPool | None = None
        self._head: QuickHead | None = None
        self.network: Network | None = None
        """What predicts instead of the quick head, while there is one."""
        self._seen: tuple[Roi, QuickHead | Network, NDArray[np.float32]] | None = None

    @property
    def shape(self) -> Voxels:
        """Of the image, (z, y, x)."""
        return self.image.shape

    @property
    def points(self) -> tuple[Point, ...]:
        """All points, in the order of their clicks."""
        return tuple(self._points)

    @property
    def pairs(self) -> tuple[LabelPair, ...]:
        """All pairs, in the order of their clicks."""
        return tuple(self._pairs)

    @property
    def is_ready(self) -> bool:
        """Whether there are labels of two classes, which is all that a prediction needs."""
        known = [*latest(self._points), *(end for pair in self._pairs for end in pair.ends)]
        return len({point.label for point in known}) > 1

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
        self._clicks.append(point)
        self._head = None
        return point

    def pair(self, first: Voxels, second: Voxels, is_same: bool) -> LabelPair:
        """Say that two voxels lie in one object, or in two; on disk when this returns. BadInput for voxels outside."""
        pair = LabelPair(first, second, is_same)
        check_pair(pair, self.shape)
        if self._pairs_record is not None:
            self._pairs_record.add(pair)
        self._pairs.append(pair)
        self._clicks.append(pair)
        self._head = None
        return pair

    def undo(self) -> Point | LabelPair | None:
        """Take back what was clicked last, and say what it was; None if there is nothing.

        Of what earlier sessions left, pairs go first.
        """
        if not self._clicks:
            return None
        last = self._clicks.pop()
        record = self._pairs_record if isinstance(last, LabelPair) else self._record
        if record is not None:
            record.undo()
        (self._pairs if isinstance(last, LabelPair) else self._points).pop()
        self._head = None
        return last

    def head(self) -> QuickHead:
        """The head that learned from all points; fitted again when these have changed. BadInput if it cannot be."""
        if self._head is None:
            labels = self._labels()
            self._head = self._fitted(labels.features, labels.classes)
        return self._head

    def predict(self, box: Roi) -> NDArray[np.float32]:
        """Probabilities (3, z, y, x) of the classes: those of a run with this head, or with the network instead of it.

        BadInput without labels.
        """
        source = self.network or self.head()
        if self._seen is None or self._seen[0] != box or self._seen[1] is not source:
            self._check_box(box)
            found = self._of_head(source, box) if isinstance(source, QuickHead) else source.of_box(box)
            self._seen = (box, source, found)
        return self._seen[2]

    @property
    def offsets(self) -> tuple[Voxels, ...]:
        """The neighbours of the affinities."""
        return self.image.recipe.offsets if self.network is None else self.network.offsets

    def affinities(self, box: Roi) -> NDArray[np.uint8]:
        """(K, z, y, x) uint8 of a box, seen by itself; the neighbours are `offsets`."""
        return as_uint8(affinities_of(self.predict(box)[INSIDE], self.offsets))

    def segment(self, box: Roi) -> NDArray[np.uint64]:
        """Segments (z, y, x) of a box, seen by itself; 0 is background. By the rules of the volume's settings."""
        return segment_box(self.affinities(box), self.offsets, self.volume())

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

    def told(self, learnt: Sequence[Point], voxels: Sequence[Voxels]) -> NDArray[np.float32]:
        """(P, 3): probabilities of voxels by a quick head that learns from these points and from no others."""
        labels = self._labels(learnt)
        head = self._fitted(labels.features, labels.classes)
        return head.probabilities(self._features_of(voxels))

    def implied(self, learnt: Sequence[Point]) -> list[Point]:
        """What the pairs say of classes, where only these points are known."""
        ends = [end for pair in self._pairs for end in pair.ends]
        if not ends:
            return []
        labels = self._labels([*learnt, *ends])
        head = self._fitted_to(labels.features, labels.classes)
        return ends + self._taught(head)

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
        """A head of these points and of all pairs, fitted twice if there are any: their lines are looked at between."""
        if not self._pairs:
            return self._fitted_to(features_PF, classes_P)
        more = self._labels([end for pair in self._pairs for end in pair.ends])
        features = np.concatenate([features_PF, more.features])
        classes = np.concatenate([classes_P, more.classes])
        head = self._fitted_to(features, classes)
        taught = self._taught(head)
        more = self._labels(taught)
        return self._fitted_to(np.concatenate([features, more.features]), np.concatenate([classes, more.classes]))

    def _taught(self, head: QuickHead) -> list[Point]:
        """What the lines of pairs say, by a head that knows their ends."""
        of_lines = used(self._pairs, self.image.recipe.dims)
        return taught_by(of_lines, lambda voxels: head.probabilities(self._features_of(voxels)))

    def _fitted_to(self, features_PF: NDArray[np.float32], classes_P: NDArray[np.int64]) -> QuickHead:
        scaling = self._pool().scaling if self.kind == "logistic" else None
        return fit(self.kind, features_PF, classes_P, self._seed, scaling)

    def _of_head(self, head: QuickHead, box: Roi) -> NDArray[np.float32]:
        result = np.empty((len(CLASSES), *box.shape), np.float32)
        for tile, found in self.image.over_tiles(box, head.of_volume):
            result[(slice(None), *(tile - box.begin).to_slices())] = found
        return result

    def _features_of(self, voxels: Sequence[Voxels]) -> NDArray[np.float32]:
        """(P, F)"""
        for voxel in voxels:
            if voxel not in self._features:
                self._features[voxel] = self.image.features_at(voxel)
        return np.array([self._features[voxel] for voxel in voxels], np.float32).reshape(-1, self.image.count)

    def _labels(self, some: Sequence[Point] | None = None) -> Labels:
        points = latest(self._points) if some is None else some
        features = self._features_of([point.voxel for point in points])
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
