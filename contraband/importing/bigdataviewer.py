"""Data sets of BigDataViewer: what the XML beside an HDF5 file or N5 container says of an array. It lists x, y, z."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from blockwise.arrays.ngff import with_image
from blockwise.arrays.space import Said, Space

IN_HDF5 = re.compile(r"/?t(?P<time>\d+)/s(?P<setup>\d+)/(?P<level>\d+)/cells")
IN_N5 = re.compile(r"(?:.*/)?setup(?P<setup>\d+)/timepoint(?P<time>\d+)/s(?P<level>\d+)")
MOST_BYTES = 1 << 26
"""Of an XML; what is larger is not read."""
LIKE_A_PARSER_TRAP = (b"<!DOCTYPE", b"<!ENTITY")
"""Nothing of BigDataViewer has these, and they may make a small file huge."""


@dataclass(frozen=True)
class View:
    """Which image of a data set an array is."""

    setup: int
    time: int
    level: int

    @classmethod
    def called(cls, pattern: re.Pattern[str], name: str) -> View | None:
        """By the path of its array in the container; None for an array that is no image of BigDataViewer."""
        found = pattern.fullmatch(name)
        return cls(*(int(found[key]) for key in ("setup", "time", "level"))) if found else None


def with_xml(own: Space, container: Path, view: View, factors: Sequence[float]) -> tuple[Space, tuple[str, ...]]:
    """What an array says itself, and what the XML beside its container says besides; and remarks on that.

    factors: by how much a voxel of its level is larger than one of the largest, x, y, z.
    """
    for xml in _beside(container):
        root = _parsed(xml)
        if root is None or not _describes(root, xml, container):
            continue
        space, remarks = _space(root, xml.name, view, factors)
        return with_image(own, space), remarks
    return own, ()


def _beside(container: Path) -> Iterator[Path]:
    """The XML of the same name, then all others in the folder."""
    named = container.with_suffix(".xml")
    others = sorted(path for path in container.absolute().parent.iterdir() if path.suffix.lower() == ".xml")
    yield from dict.fromkeys(path for path in (named.absolute(), *others) if path.is_file())


def _parsed(xml: Path) -> ElementTree.Element | None:
    """The root of an XML of BigDataViewer; None for any other file."""
    try:
        if xml.stat().st_size > MOST_BYTES:
            return None
        content = xml.read_bytes()
        if any(mark in content for mark in LIKE_A_PARSER_TRAP):
            return None
        root = ElementTree.fromstring(content)
    except (OSError, ElementTree.ParseError, ValueError, LookupError):
        return None
    return root if root.tag == "SpimData" else None


def _describes(root: ElementTree.Element, xml: Path, container: Path) -> bool:
    """Whether it is the XML of this container, by the name that it gives, or by its own where it gives none."""
    loader = root.find("SequenceDescription/ImageLoader")
    named = [(one.text or "").strip() for one in (() if loader is None else loader) if one.tag in ("hdf5", "n5")]
    if any(named):
        return any(re.split(r"[/\\]", name.rstrip("/\\"))[-1] == container.name for name in named)
    return xml.stem == container.stem


def _space(root: ElementTree.Element, name: str, view: View, factors: Sequence[float]) -> tuple[Space, tuple[str, ...]]:
    where = f"BigDataViewer's {name}"
    axes = Said(("z", "y", "x"), where)
    setups = root.findall("SequenceDescription/ViewSetups/ViewSetup")
    setup = next((one for one in setups if (one.findtext("id") or "").strip() == str(view.setup)), None)
    size = _numbers(None if setup is None else setup.findtext("voxelSize/size"))
    if setup is None or size is None or len(size) != 3 or not (size > 0).all():
        return Space(axes), (f"{name} beside it gives no voxel size for setup {view.setup}",)
    unit = (setup.findtext("voxelSize/unit") or "").strip()
    begin, remarks = _registered(root, name, view, size)
    return Space(
        axes,
        Said([float(step) for step in (size * np.array(factors))[::-1]], where),
        Said([float(at) for at in begin[::-1]], f"{where}, its registration") if begin.any() else None,
        Said(unit, where) if unit else None,
    ), remarks


def _registered(
    root: ElementTree.Element, name: str, view: View, size: np.ndarray
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Where the image is moved to, x, y, z, and a remark on whatever else its registration does.

    A registration that leaves voxels in proportion is a place, be it in lengths or in voxels of which the smallest is
    1; all others turn or stretch the image.
    """
    total = np.eye(4)
    for one in root.findall("ViewRegistrations/ViewRegistration"):
        if (one.get("setup"), one.get("timepoint")) == (str(view.setup), str(view.time)):
            for affine in one.findall("ViewTransform/affine"):
                values = _numbers(affine.text)
                if values is None or len(values) != 12:
                    return np.zeros(3), (f"{name} beside it has a registration that cannot be read",)
                total = total @ np.vstack([values.reshape(3, 4), [0, 0, 0, 1]])
    ratio = total[0, 0] / size[0]
    if ratio > 0 and np.allclose(total[:3, :3] / ratio, np.diag(size), rtol=1e-5, atol=1e-9):
        return total[:3, 3] / ratio, ()
    if np.array_equal(total, np.eye(4)):
        return np.zeros(3), ()
    return np.zeros(3), (f"{name} beside it registers the image by more than a shift, which is not applied",)


def _numbers(text: str | None) -> np.ndarray | None:
    try:
        found = np.array([float(word) for word in (text or "").split()])
    except ValueError:
        return None
    return found if found.size and np.isfinite(found).all() else None
