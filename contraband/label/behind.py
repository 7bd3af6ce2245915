"""What a session has to know of a training that goes on behind it; `contraband.experiments.behind` is one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from contraband.label.image import FeatureImage
from contraband.label.proposals import LabelScore
from contraband.label.session import Network


@dataclass(frozen=True)
class RoundReport:
    """What a round of training found: a network, and how well it and the quick head tell labels that were left out."""

    network: str
    """Name of its checkpoint in the folder of the training."""
    digest: str
    """Of the labels and of the settings that it was trained with."""
    step: int
    trained: LabelScore
    quick: LabelScore

    @property
    def is_better(self) -> bool:
        """Whether more labels that were left out were told right than by the quick head, which wins a tie."""
        return self.trained.accuracy > self.quick.accuracy

    def in_words(self) -> str:
        """Both scores and how sure they are, in a line."""
        network, head = (f"{one.accuracy:.0%} ± {one.spread:.0%}" for one in (self.trained, self.quick))
        each = " ".join(f"{share:.0%}" for share in self.trained.of_folds)
        folds = f"{len(self.trained.of_folds)} folds of {self.trained.labels} labels"
        return f"told right when left out: network {network} ({each}), quick head {head}; {folds}"


class Behind(Protocol):
    """Trains while somebody labels."""

    doing: str
    """What it does now, in words."""

    @property
    def report(self) -> RoundReport | None:
        """What the last round found; None before there was one."""

    def listen(self, changed: Callable[[], None]) -> None:
        """Call something, in any thread, whenever there is news."""

    def network(self, report: RoundReport, image: FeatureImage) -> Network:
        """The network of a round; BadInput if it does not fit."""
