"""The section `data` of a STUDY.yaml: a data set and how it is divided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from blockwise.fields import Count, Fraction, Place, Positive
from blockwise.settings import Settings

Sections = Annotated[tuple[Count, Positive, Positive], "begin, end, step"]


class Shares(Settings):
    """How mosaics are dealt."""

    train: Fraction = 0.5
    """Of all images, about so many are labelled and trained on."""

    validate_: Fraction = Field(default=0.2, alias="validate")
    """So many belong to the dense validation part, which no user with few labels has; the rest is tested on."""

    @model_validator(mode="after")
    def _leaves_a_test(self) -> Self:
        if not 0 < self.train < 1 or not 0 < self.validate_ < 1 - self.train:
            raise ValueError(f"train and validate must leave something to test on, got {self.train}, {self.validate_}")
        return self


class Ranges(Settings):
    """Sections of a volume, each as [begin, end, step]; leave a gap between them, as neighbours look alike."""

    train: Sections
    """What is labelled and trained on."""

    validate_: Sections = Field(alias="validate")
    """The dense validation part."""

    test: Sections
    """What claims are decided on."""

    @property
    def spans(self) -> tuple[Sections, Sections, Sections]:
        """Of training, validation and test."""
        return (self.train, self.validate_, self.test)

    @model_validator(mode="after")
    def _apart(self) -> Self:
        chosen = [range(*span) for span in self.spans]
        if not all(chosen):
            raise ValueError("a range of sections is empty")
        if len(set().union(*chosen)) < sum(map(len, chosen)):
            raise ValueError("ranges of sections overlap")
        return self


class StudyData(Settings):
    """One data set: a stack of images or sections with true labels, and how it is divided."""

    file: Place
    """An .npz file."""

    raw: str = "raw"
    """The array of intensities, (z, y, x)."""

    labels: str = "labels"
    """The array of true objects, same voxels; 0 is background."""

    kind: Literal["nuclei", "membranes"] = "nuclei"
    """`nuclei`: classes background, inside and boundary, scored by F1 of objects; `membranes`: inside and boundary,
    scored by average precision of the boundary and VOI."""

    dims: Literal[2, 3] = 2
    """3: each region is a volume, which is seen, cut into objects and scored as a whole; 2: section by section."""

    rim: Positive = 1
    """Pixels of an object next to another, or to the background, that are boundary."""

    divided: Literal["mosaics", "ranges"] = "mosaics"
    """`mosaics`: images whose borders fit are one mosaic, and a mosaic is never divided; `ranges`: by section."""

    least_correlation: Fraction = 0.9
    """Borders fit if each is the other's best match and they correlate better than this."""

    shares: Shares = Shares()

    ranges: Ranges | None = None
    """With `divided: ranges`."""

    most: Mapping[Literal["validate", "test"], Positive] = Field(default_factory=dict)
    """`validate` and `test`: at most so many images are scored, evenly chosen; left out: all."""

    seed: Count = 0
    """Which mosaic goes where."""

    @model_validator(mode="after")
    def _has_ranges(self) -> Self:
        if (self.divided == "ranges") != (self.ranges is not None):
            raise ValueError("ranges must be given with `divided: ranges`, and only then")
        return self

    @model_validator(mode="after")
    def _is_whole_in_3d(self) -> Self:
        if self.dims == 2:
            return self
        if self.ranges is None or {span[2] for span in self.ranges.spans} != {1}:
            raise ValueError("dims is 3, and a volume has no gaps: give ranges, each with the step 1")
        if self.most:
            raise ValueError("most counts sections, and with dims 3 all of them are scored together; leave it out")
        return self
