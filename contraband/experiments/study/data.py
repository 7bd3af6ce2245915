"""A data set of a study: images, classes of their pixels, and which of them are trained on, validated on, tested on."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from numpy.typing import NDArray

from blockwise.errors import BadInput, looked_for
from blockwise.files.whole import staging
from contraband.experiments.study.data_settings import StudyData
from contraband.experiments.study.mosaics import deal, mosaics
from contraband.models.classes import CLASSES

Region = Literal["train", "validate", "test"]
REGIONS: tuple[Region, ...] = ("train", "validate", "test")
BACKGROUND, INSIDE, BOUNDARY = range(len(CLASSES))
RAW = "raw"
LABELS = "labels"
"""The datasets of a training container."""
SECTIONS = 16
"""Of a chunk."""


@dataclass(frozen=True)
class Images:
    """Some images of a data set."""

    raw: NDArray[Any]
    """(S, y, x), as it is stored."""
    labels: NDArray[Any]
    """(S, y, x): true objects; 0 is background."""


@dataclass(frozen=True)
class DataSet:
    """A data set and how it is divided."""

    name: str
    settings: StudyData
    whole: Images
    region_of: NDArray[np.int64]
    """(S,): index into `REGIONS` of each image; -1 belongs to none."""

    def images(self, region: Region) -> Images:
        """The images of a region; of `validate` and `test` at most as many as the settings say, evenly chosen."""
        places = np.flatnonzero(self.region_of == REGIONS.index(region))
        most = self.settings.most.get(region, len(places)) if region != "train" else len(places)
        if most < len(places):
            places = places[np.linspace(0, len(places) - 1, most).round().astype(int)]
        return Images(self.whole.raw[places], self.whole.labels[places])

    @cached_property
    def train_classes(self) -> NDArray[np.int8]:
        """(S, y, x): classes of all pixels that labels may be drawn from."""
        return classes_of(self.images("train").labels, self.settings)

    def container(self, folder: Path) -> Path:
        """A zarr container with the raw of the training images, written if it is not there yet."""
        raw = self.images("train").raw
        target = folder / f"{self.name}-{hashlib.sha256(raw.tobytes()).hexdigest()[:12]}.zarr"
        if not target.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with staging(target, ".study-") as place:
                group = zarr.open_group(str(place / "new.zarr"), mode="w")
                group.create_array(RAW, data=raw, chunks=(min(SECTIONS, len(raw)), *raw.shape[1:]))
                (place / "new.zarr").rename(target)
        return target


def load_data(name: str, settings: StudyData) -> DataSet:
    """Read a data set and divide it; BadInput names the file, the array or the region that cannot be used."""
    raw, labels = (_array(settings.file, array) for array in (settings.raw, settings.labels))
    if raw.ndim != 3 or raw.shape != labels.shape:
        got = f"{list(raw.shape)} and {list(labels.shape)}"
        raise BadInput(
            settings.file, "raw and labels are no stacks of images of one shape", got=got, wanted="(z, y, x)"
        )
    if labels.dtype.kind not in "iub":
        raise BadInput(settings.file, "labels are not whole numbers", got=labels.dtype)
    region_of = _by_range(settings, len(raw)) if settings.ranges else _by_mosaic(settings, raw)
    missing = [region for index, region in enumerate(REGIONS) if not (region_of == index).any()]
    if missing:
        todo = "change data.shares, or divide by ranges"
        raise BadInput(settings.file, f"has too few mosaics: none is left for {missing[0]}", todo=todo)
    return DataSet(name, settings, Images(raw, labels), region_of)


def classes_of(labels: NDArray[Any], settings: StudyData) -> NDArray[np.int8]:
    """(S, y, x): the class of each pixel: inside, boundary within `rim` pixels of another label, background.

    By image, or in 3D. labels: true objects, 0 for none. Membranes have no background: what is no object is boundary.
    """
    is_object = labels > 0
    differs = np.zeros(labels.shape, bool)
    for axis in range(3 - settings.dims, 3):
        low = [slice(None)] * 3
        low[axis] = slice(None, -1)
        high = [slice(None)] * 3
        high[axis] = slice(1, None)
        change = labels[tuple(low)] != labels[tuple(high)]
        differs[tuple(low)] |= change
        differs[tuple(high)] |= change
    boundary = _grown(differs, settings.rim - 1, settings.dims) & is_object
    rest = BACKGROUND if settings.kind == "nuclei" else BOUNDARY
    classes = np.where(boundary, BOUNDARY, np.where(is_object, INSIDE, rest))
    return classes.astype(np.int8)


def _grown(mask: NDArray[np.bool_], steps: int, dims: int) -> NDArray[np.bool_]:
    from scipy import ndimage

    if not steps:
        return mask
    cross = ndimage.generate_binary_structure(dims, 1)[(None,) * (3 - dims)]
    grown: NDArray[np.bool_] = ndimage.binary_dilation(mask, cross, iterations=steps)
    return grown


def _array(path: Path, name: str) -> NDArray[Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            if name not in file:
                raise BadInput(path, f"has no array {name!r}", todo=f"there is: {', '.join(file)}")
            array: NDArray[Any] = file[name]
            return array
    except FileNotFoundError:
        raise BadInput(path, "no such file", todo=f"check data.file{looked_for(path)}") from None
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise BadInput(path, f"is no readable .npz file ({error})") from None


def _by_range(settings: StudyData, count: int) -> NDArray[np.int64]:
    assert settings.ranges is not None
    region_of = np.full(count, -1, np.int64)
    for index, span in enumerate(settings.ranges.spans):
        if span[1] > count:
            raise BadInput(settings.file, "has fewer sections than ranges say", got=count, wanted=f"at least {span[1]}")
        region_of[slice(*span)] = index
    return region_of


def _by_mosaic(settings: StudyData, raw: NDArray[Any]) -> NDArray[np.int64]:
    shares = settings.shares
    groups = mosaics(raw, settings.least_correlation)
    return deal(groups, (shares.train, shares.validate_, 1 - shares.train - shares.validate_), settings.seed)
