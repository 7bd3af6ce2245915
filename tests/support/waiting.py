"""A prediction that ends only in a chain; apart from the tests, so that workers load no more than in a run."""

from __future__ import annotations

import time

import numpy as np

from blockwise.grid import Block
from blockwise.stage import Stage
from blockwise.store import open_store
from contraband.volumes.line import stages
from contraband.volumes.predict import Predict
from contraband.volumes.settings import VolumeSettings

PATIENCE_S = 60


class Waits(Predict):
    """Predicts the last block only after edges have been counted somewhere; without a chain that never comes."""

    store_url: str

    def parameters(self) -> dict[str, object]:
        return {key: value for key, value in super().parameters().items() if key != "store_url"}

    def compute(self, block: Block, loaded: np.ndarray) -> np.ndarray:
        if block.write_roi.end[0] == self.shape[0]:
            self.wait_for_edges()
        return super().compute(block, loaded)

    def wait_for_edges(self) -> None:
        store = open_store(self.store_url)
        end = time.monotonic() + PATIENCE_S
        while not store.totals("edges").done:
            assert time.monotonic() < end, "no edges were counted while blocks were left to predict"
            time.sleep(0.02)
        store.close()


def waiting_line(settings: VolumeSettings) -> list[Stage]:
    """The line of a volume; its last block is predicted after the first edges."""
    first, *others = stages(settings)
    return [Waits(**dict(first), store_url=settings.store_url), *others]
