"""What is proposed for an image: where everything goes, and the settings of a first segmentation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blockwise.errors import BadInput
from blockwise.files.whole import check_folder
from contraband.quick.classical_settings import Kind
from contraband.volumes.settings import Blocks
from contraband.volumes.start.finding import ROUND, Understood, find, roundness
from contraband.volumes.start.planes import planes, thickness
from contraband.volumes.start.source import ONE_SECTION, OpenedImage

FLAT_BLOCK = (16, 256, 256)
WIDE_BLOCK = (64, 256, 256)
"""For objects so large that a smaller block would read several times what it writes."""
WIDE_VX = 10


@dataclass(frozen=True)
class Places:
    """Where what a start makes lies, in the working folder."""

    settings: Path
    raw: Path
    output: Path
    picture: Path
    mask: Path | None = None
    """Where images end in a stack of images of different sizes; None for all others."""

    @classmethod
    def called(cls, name: str, image: Path, in_place: Path | None, is_padded: bool = False) -> Places:
        """The places for a name; raw is left where it is if it can be used there, and so is an image of that name."""
        data = Path("data") / f"{name}.zarr"
        mask = data / "mask" if is_padded else None
        picture = Path(f"{name}.png")
        if picture.absolute() == image.absolute():
            picture = Path(f"{name}-segments.png")
        return cls(Path(f"{name}.yaml"), in_place or data / "raw", Path("out") / f"{name}.zarr", picture, mask)

    def check_free(self, is_imported: bool) -> None:
        """Raise BadInput if something would be replaced, or a folder may not be written to."""
        data = [path for path in (self.raw if is_imported else None, self.mask) if path is not None]
        for path in (self.settings, *data, self.output, self.picture):
            if path.exists():
                again = f"go on with contraband run {self.settings}" if self.settings.exists() else "remove it"
                raise BadInput(path, "is there already", todo=f"{again}, or give another --as")
            check_folder(path, "start")


@dataclass(frozen=True)
class Proposal:
    """What was understood, and what follows."""

    dims: int
    z_scale: float
    is_z_guessed: bool
    """Whether the thickness of a section was measured in the image, since nobody says it."""
    channels: tuple[int, ...] | None
    found: Understood
    seen: tuple[float, float]
    """The least and the largest value in the sections that were looked at."""

    def data(self, image: OpenedImage, places: Places) -> dict[str, Any]:
        """The settings as a file has them: every key that a first look at a result makes one want to change."""
        rules = self.found.rules
        is_flat = self.dims == 2
        wide = WIDE_BLOCK if rules.radius > WIDE_VX else Blocks().shape
        flat = ONE_SECTION if image.spatial[0] == 1 or image.options.get("block") else FLAT_BLOCK
        mask = {} if places.mask is None else {"mask": str(places.mask)}
        fragments: dict[str, Any] = {"per_section": is_flat}
        if rules.kind != "membranes":
            fragments["foreground"] = {"threshold": 0.5}
        shown = {} if self.channels is None else {"channels": list(self.channels)}
        return {
            "volume": {"raw": str(places.raw), **mask, **shown},
            "model": {"classical": rules.model_dump(mode="json")},
            "output": str(places.output),
            "blocks": {"shape": list(flat if is_flat else wide)},
            "fragments": fragments,
            "segment": {"thresholds": [0.5], "min_voxels": self.found.min_voxels},
            "cluster": {"kind": "auto"},
        }


def propose(image: OpenedImage, kind: Kind | None, channels: tuple[int, ...] | None) -> Proposal:
    """What to do with an image, by looking at some of its sections; the same image gives the same proposal."""
    count = image.channels or 1
    if channels and max(channels) >= count:
        raise BadInput("--channel", "there is no such channel", got=max(channels), wanted=f"below {count}")
    sizes = [(one.height, one.width) for one in image.images] if image.is_padded else []
    chosen = channels or (_telling(image, kind, sizes) if image.channels else None)
    pairs = list(planes(image.read, image.spatial, chosen, sizes))
    measured = thickness(pairs) if image.spatial[0] > 1 and not sizes else None
    dims = 2 if measured is None else 3
    size_z, _, size_x = image.voxel_size
    z_scale = 1.0 if measured is None else size_x / size_z if image.is_size_known else 1 / max(measured, 1.0)
    found = find(pairs, kind, dims, z_scale)
    seen = min(float(pair.here.min()) for pair in pairs), max(float(pair.here.max()) for pair in pairs)
    is_guessed = dims == 3 and not image.is_size_known
    return Proposal(dims, z_scale, is_guessed, chosen if image.channels else None, found, seen)


def _telling(image: OpenedImage, kind: Kind | None, sizes: list[tuple[int, int]]) -> tuple[int, ...]:
    """The channels that show what is in an image: all, unless pieces are round in one of them but not in their mean."""
    every = tuple(range(image.channels or 1))
    if len(every) == 1 or kind == "membranes":
        return every

    def seen(channels: tuple[int, ...]) -> float:
        return max(roundness([one.here for one in planes(image.read, image.spatial, channels, sizes)]))

    if seen(every) > ROUND:
        return every
    alone = {(channel,): seen((channel,)) for channel in every}
    best = max(alone, key=alone.__getitem__)
    return best if alone[best] > ROUND else every
