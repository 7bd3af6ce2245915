"""What the benchmarks compare against does the same work."""

from __future__ import annotations

import gunpowder as gp
import numpy as np
import pytest
import torch
import zarr

from contraband.training.losses import nt_xent
from tests.benchmarks.original.chain import PLACES, RAW, Chain
from tests.benchmarks.original.loss import loop_nt_xent


@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_the_loss_equals_the_original_loop(temperature):
    """In float64 both losses, and their gradients, agree within 1e-12."""
    torch.manual_seed(0)
    first, second = torch.randn(200, 12, dtype=torch.float64, requires_grad=True), torch.randn(200, 12).double()
    found, wanted = (loss(first, second, temperature) for loss in (nt_xent, loop_nt_xent))
    assert float(found.detach()) == pytest.approx(float(wanted.detach()), abs=1e-12)
    gradients = [torch.autograd.grad(loss, first)[0] for loss in (found, wanted)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_original_chain_pairs_points(tmp_path):
    """Both views show the same brightness near paired points, and another brightness near other points."""
    ramp = np.broadcast_to(np.linspace(0, 255, 200).astype(np.uint8), (3, 200, 200))
    zarr.open_group(str(tmp_path / "v.zarr"), mode="w").create_array("raw", data=np.ascontiguousarray(ramp))
    chain = Chain(str(tmp_path / "v.zarr"), "raw", (1, 80, 80), (1, 60, 60), 0.01)
    with gp.build(chain.pipeline()) as pipeline:
        batch = pipeline.request_batch(chain.request())
    seen = [brightness(batch[raw].data[0, 0], batch[places].data[0]) for raw, places in zip(RAW, PLACES, strict=True)]
    assert len(seen[0]) > 10
    apart = np.abs(seen[0][:, None] - seen[1][None])
    assert np.median(np.diag(apart)) < 0.03 < np.median(apart)


def brightness(raw, places) -> np.ndarray:
    """Of the view, 10 voxels inside whose border the output begins, at positions in the output."""
    y, x = (places + 10).astype(int).T
    return raw[y, x]
