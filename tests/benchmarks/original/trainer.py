"""The original's training step: `gp.torch.Train` on pre-cached pairs, embeddings of whole views, the loss in a loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gunpowder as gp
import torch
from torch import Tensor, nn
from torch.nn import functional

from contraband.models.networks import ContrastiveVolumeNet
from tests.benchmarks.original.chain import PLACES, RAW, Chain
from tests.benchmarks.original.loss import loop_nt_xent

EMBEDDINGS = (gp.ArrayKey("EMBEDDING_FIRST"), gp.ArrayKey("EMBEDDING_SECOND"))


class WholeViews(nn.Module):
    """Projects every voxel of both views (1, 1, Y, X), as the original does, not only those the loss looks at."""

    def __init__(self, network: ContrastiveVolumeNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors (1, C, Y, X) of both views."""
        views = (self.network.projection(self.network.base(raw)) for raw in (first, second))
        first, second = (functional.normalize(view, dim=1) for view in views)
        return first, second


class LoopLoss(nn.Module):
    """The loop over points, on the voxels that points lie in."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, first: Tensor, second: Tensor, first_places: Tensor, second_places: Tensor) -> Tensor:
        """Embeddings (1, C, Y, X) and positions (1, P, 2)."""
        pairs = ((first, first_places), (second, second_places))
        picked = [volume[0].movedim(0, -1)[tuple(places[0].long().unbind(-1))] for volume, places in pairs]
        return loop_nt_xent(picked[0], picked[1], self.temperature)


@contextmanager
def original_training(
    chain: Chain, network: ContrastiveVolumeNet, temperature: float, workers: int
) -> Iterator[Iterator[float]]:
    """The losses of one step after the other, without end; loader processes are gone afterwards."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    train = gp.torch.Train(
        WholeViews(network),
        LoopLoss(temperature),
        optimizer,
        inputs={"first": RAW[0], "second": RAW[1]},
        outputs={0: EMBEDDINGS[0], 1: EMBEDDINGS[1]},
        loss_inputs={
            "first": EMBEDDINGS[0],
            "second": EMBEDDINGS[1],
            "first_places": PLACES[0],
            "second_places": PLACES[1],
        },
        array_specs={key: gp.ArraySpec(voxel_size=(1, 1)) for key in EMBEDDINGS},
        save_every=10**9,
    )
    pipeline: Any = chain.pipeline() + gp.PreCache(cache_size=10, num_workers=workers) + train
    with gp.build(pipeline):
        yield (float(pipeline.request_batch(chain.request()).loss) for _ in iter(int, 1))
