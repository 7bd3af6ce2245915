"""What is proposed for an image: where everything goes, and the settings of a first segmentation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blockwise.errors import BadInput
from blockwise.files.whole import check_folder
from contraband.quick.classical_settings import Kind
from contraband.volumes.settings import Blocks
from contraband.volumes.start.finding import Understood, find
from contraband.volumes.start.planes import planes, thickness
from contraband.volumes.start.source import OpenedImage

FLAT_BLOCK = (16, 256, 256)
ONE_SECTION = (1, 512, 512)
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

    @classmethod
    def called(cls, name: str, in_place: Path | None) -> Places:
        """The places for a name; raw is left where it is if it can be used there."""
        raw = in_place or Path("data") / f"{name}.zarr" / "raw"
        return cls(Path(f"{name}.yaml"), raw, Path("out") / f"{name}.zarr", Path(f"{name}.png"))

    def check_free(self, is_imported: bool) -> None:
        """Raise BadInput if something would be replaced, or a folder may not be written to."""
        for path in (self.settings, *((self.raw,) if is_imported else ()), self.output, self.picture):
            if path.exists():
                again = f"contraband run {self.settings}" if self.settings.exists() else "remove it"
                raise BadInput(path, "is there already", todo=f"go on with {again}, or give another --as")
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
        block = (ONE_SECTION if image.spatial[0] == 1 else FLAT_BLOCK) if is_flat else wide
        fragments: dict[str, Any] = {"per_section": is_flat}
        if rules.kind != "membranes":
            fragments["foreground"] = {"threshold": 0.5}
        shown = {} if self.channels is None else {"channels": list(self.channels)}
        return {
            "volume": {"raw": str(places.raw), **shown},
            "model": {"classical": rules.model_dump(mode="json")},
            "output": str(places.output),
            "blocks": {"shape": list(block)},
            "fragments": fragments,
            "segment": {"thresholds": [0.5]},
            "cluster": {"kind": "auto"},
        }


def propose(image: OpenedImage, kind: Kind | None, channels: tuple[int, ...] | None) -> Proposal:
    """What to do with an image, by looking at some of its sections; the same image gives the same proposal."""
    count = image.channels or 1
    if channels and max(channels) >= count:
        raise BadInput("--channel", "there is no such channel", got=max(channels), wanted=f"below {count}")
    chosen = channels or (tuple(range(image.channels)) if image.channels else None)
    pairs = list(planes(image.read, image.spatial, chosen))
    measured = thickness(pairs) if image.spatial[0] > 1 else None
    dims = 2 if measured is None else 3
    size_z, _, size_x = image.voxel_size
    z_scale = 1.0 if measured is None else size_x / size_z if image.is_size_known else 1 / max(measured, 1.0)
    found = find(pairs, kind, dims, z_scale)
    seen = min(float(pair.here.min()) for pair in pairs), max(float(pair.here.max()) for pair in pairs)
    is_guessed = dims == 3 and not image.is_size_known
    return Proposal(dims, z_scale, is_guessed, chosen if image.channels else None, found, seen)
