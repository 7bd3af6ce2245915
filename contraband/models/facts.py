"""What is asked of a network before it predicts, kept so that a command which only asks need not load it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from blockwise.errors import BadInput
from blockwise.grid import Voxels
from blockwise.settings import Settings
from contraband.models.averaging.base import Averageable, whole_strides
from contraband.models.foreign.files import digest_of
from contraband.models.normalise import Percentiles

HERE = Path(__file__).parent
"""The code that networks are made of and asked by."""


class NetworkFacts(Settings):
    """All that is asked of a network but its values, in its place. All shapes are (z, y, x) in voxels."""

    asked: str
    """A digest of the network's file, how it is used, and the code that told the rest."""
    kind: Literal["affinities", "embeddings"]
    """What it says."""
    channels: int
    """How many channels it says, a foreground among them."""
    in_channels: int
    """How many channels of raw it is shown."""
    context: Voxels
    """Voxels of raw needed around a tile on each side."""
    stride: Voxels
    """Tiles at multiples of this, of whole multiples, have the values of the volume."""
    is_flat: bool
    """Whether each section is predicted by itself."""
    offsets: list[list[int]]
    """The neighbour that each affinity channel joins a voxel with; none for embeddings."""
    has_foreground: bool
    """Whether the last channel says how sure it is that a voxel is foreground."""
    percentiles: Percentiles | None
    """How raw is stretched before it is shown."""
    norm_factor: float | None
    """What raw is multiplied by before it is shown; null: by nothing that is known."""
    fingerprint: str
    """sha256 over all that changes what is predicted."""

    @classmethod
    def of(cls, network: Averageable, asked: str) -> Self:
        """Those of a network that is loaded."""
        told = {name: getattr(network, name) for name in cls.model_fields if name not in ("asked", "offsets")}
        return cls(asked=asked, offsets=[list(one) for one in network.offsets], **told)

    def fit_output(self, shape: Sequence[int]) -> Voxels:
        """The largest valid output tile not above `shape`, but at least one stride."""
        return whole_strides(shape, self.stride)

    def __call__(self, raw: np.ndarray) -> NDArray[np.float32]:
        """No values: they are asked of the network itself."""
        raise NotImplementedError("these are facts of a network, which do not predict")

    def quantised(self, raw: np.ndarray) -> NDArray[np.uint8]:
        """No values either."""
        return self(raw).astype(np.uint8)


class KnownNetworks:
    """Facts of networks: those that were kept, and those that were learned since."""

    def __init__(self, kept: Iterable[Any] = ()) -> None:
        """kept: facts as JSON has them; what is none is learned again."""
        self._known: dict[str, NetworkFacts] = {}
        for one in (each for each in kept if isinstance(each, Mapping)):
            with suppress(BadInput):
                facts = NetworkFacts.parse(one, "networks")
                self._known[facts.asked] = facts
        self._asked: dict[str, NetworkFacts] = {}

    def facts(self, path: Path, how: Sequence[object], load: Callable[[], Averageable]) -> NetworkFacts:
        """Those of the network in a file, for which it is loaded if they are not known.

        how: it is used, all that facts depend on but the file.
        """
        asked = _digest(path, how)
        found = self._known.get(asked) if asked else None
        if found is None:
            found = NetworkFacts.of(load(), asked)
        self._known[asked] = found
        self._asked[asked] = found
        return found

    @property
    def asked_for(self) -> tuple[NetworkFacts, ...]:
        """Those of the networks that were asked for, to be kept."""
        return tuple(facts for asked, facts in self._asked.items() if asked)


def _digest(path: Path, how: Sequence[object]) -> str:
    """What facts are known by; empty for a file that cannot be read, which says so when it is loaded."""
    try:
        return hashlib.sha256(f"{digest_of(path)} {tuple(how)} {_digest_of_code()}".encode()).hexdigest()
    except OSError:
        return ""


@cache
def _digest_of_code() -> str:
    """Of the code that tells facts: what another version told is not believed."""
    digest = hashlib.sha256()
    for file in sorted(HERE.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
