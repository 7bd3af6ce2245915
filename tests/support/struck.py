"""Stages whose substages die as planned."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from blockwise.grid import Block, Grid
from blockwise.stage import Stage
from blockwise.store import Store
from tests.faults.planned import strike


class Struck(Stage):
    """A substage of another stage whose blocks die as planned."""

    substage: Any
    faults: Path

    @property
    def name(self) -> str:  # type: ignore[override]
        return str(self.substage.name)

    def grid(self) -> Grid:
        grid: Grid = self.substage.grid()
        return grid

    def parameters(self) -> dict[str, object]:
        chosen: dict[str, object] = self.substage.parameters()
        return chosen

    def process(self, block: Block, store: Store) -> None:
        folder = self.faults / self.name.replace("/", " ")
        folder.mkdir(parents=True, exist_ok=True)
        strike(folder, block.key, "before write")
        self.substage.process(block, store)
        strike(folder, block.key, "after write")


class Mortal(Stage):
    """Before a stage among the bases of a class: each of its substages dies as planned."""

    faults: Path

    def substages(self, store: Store) -> Iterable[Stage]:
        for substage in super().substages(store):
            yield Struck(substage=substage, faults=self.faults)

    def closing(self, store: Store) -> Iterable[Stage]:
        for substage in super().closing(store):
            yield Struck(substage=substage, faults=self.faults)

    def parameters(self) -> dict[str, object]:
        return {key: value for key, value in super().parameters().items() if key != "faults"}
