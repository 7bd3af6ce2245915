"""The images that the sections of a stack are. They may be smaller than the stack: the rest of a section is padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

IMAGES = "images"
"""The attribute of a stack that names its images: a row `[name, height, width]` for each section."""


@dataclass(frozen=True)
class SectionImage:
    """An image that became a section, from its first voxel on."""

    name: str
    """Of its file."""
    height: int
    width: int


def images_in(attributes: Mapping[str, Any]) -> tuple[SectionImage, ...]:
    """The images that the sections of a stack are, by its attributes; none where it is no such stack."""
    return tuple(SectionImage(str(name), int(height), int(width)) for name, height, width in attributes.get(IMAGES, ()))


def is_padded(images: Sequence[SectionImage]) -> bool:
    """Whether images of one stack have different sizes."""
    return len({(one.height, one.width) for one in images}) > 1
