"""What a simulated user clicks in a few images, and the labelling session that learns from it.

The clicks of a draw are made once, up to the largest budget; a smaller one is their beginning. They stay on the disk.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blockwise.files.whole import write_json
from contraband.experiments.study.settings import UserName
from contraband.experiments.study.users import USERS, Classes, label_once, section_box
from contraband.label.session import LabelSession
from contraband.label.settings import LabelSettings
from contraband.samples.points import Points
from contraband.volumes.settings import VolumeSettings

IMAGES = 0x696D6167
CLICKS = 0x636C6963
"""Seeds of what is drawn apart from points."""


@dataclass(frozen=True)
class Clicks:
    """What a user clicked, in order."""

    points: Points
    """Places in the images that were clicked in."""
    seconds: float
    """CPU seconds in which the session answered: it learnt, proposed, and showed the section after each click."""


@dataclass(frozen=True)
class Sitting:
    """A simulated user in front of a few images."""

    raw: NDArray[Any]
    """(S, y, x), as it is stored."""
    classes: Classes
    """(S, y, x): what the user sees to be there."""
    settings: LabelSettings
    user: UserName
    draw: int
    dims: int = 2

    def clicks(self, path: Path, k: int, most: int) -> Clicks:
        """The first `k` clicks of a file, in which `most` are made if it is not there yet."""
        if not path.exists():
            write_json(path, self._clicked(most))
        rows = np.array(json.loads(path.read_text(encoding="utf-8")))[:k]
        places = rows[:, :4].astype(np.int64)
        return Clicks(Points(places[:, :3], places[:, 3]), float(rows[-1, 4]))

    def after(self, clicks: Clicks) -> LabelSession:
        """The session after these clicks."""
        session = session_on(self.raw, self.settings, self.dims)
        for voxel, label in zip(clicks.points.positions.tolist(), clicks.points.labels.tolist(), strict=True):
            session.click(voxel, label)
        return session

    def _clicked(self, count: int) -> list[list[float]]:
        """z, y, x, label and the seconds so far of each click."""
        session = session_on(self.raw, self.settings, self.dims)
        session.warm(section_box(session, 0))
        random = np.random.default_rng([self.draw, CLICKS])
        rows: list[list[float]] = []
        began = time.process_time()
        for _ in range(count):
            label_once(session, self.classes, USERS[self.user], random)
            voxel, label = session.points[-1]
            if session.is_ready:
                session.predict(section_box(session, voxel[0]))
            rows.append([*voxel, label, time.process_time() - began])
        return rows


def session_on(raw: NDArray[Any], settings: LabelSettings, dims: int) -> LabelSession:
    """A session without a click; in 2D each section stands alone."""
    volume = VolumeSettings.parse({"output": "none.zarr", "fragments": {"per_section": dims == 2}}, "study")
    return LabelSession(raw, volume, settings)


def chosen_images(total: int, count: int, draw: int) -> NDArray[np.int64]:
    """Which images a user of a draw sees, in order; all if there are no more."""
    random = np.random.default_rng([draw, IMAGES])
    chosen: NDArray[np.int64] = np.sort(random.permutation(total)[:count])
    return chosen
