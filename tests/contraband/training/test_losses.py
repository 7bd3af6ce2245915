"""The losses against the slowest obvious implementation."""

from __future__ import annotations

import math

import pytest
import torch

from contraband.training import losses
from contraband.training.losses import affinity_loss, near_each_other, nt_xent, segmentation_loss


def slow_nt_xent(first, second, temperature, valid, too_near=lambda i, j: False) -> float:
    views = [row / row.norm() for row in torch.cat([first, second])]
    count, alive = len(first), [*valid, *valid]
    total, terms = 0.0, 0
    for i, view in enumerate(views):
        if alive[i]:
            others = {j: other for j, other in enumerate(views) if j != i and alive[j]}
            others = {j: other for j, other in others.items() if not too_near(i % count, j % count)}
            scores = {j: float(view @ other) / temperature for j, other in others.items()}
            largest = max(scores.values())
            total -= scores[(i + count) % (2 * count)] - largest
            total += math.log(sum(math.exp(score - largest) for score in scores.values()))
            terms += 1
    return total / terms


@pytest.mark.parametrize("temperature", [0.01, 0.05, 1.0])
@pytest.mark.parametrize("padded", [0, 4])
@pytest.mark.parametrize("rows", [1000, 5])
def test_nt_xent_equals_the_loop(temperature, padded, rows, monkeypatch):
    """In float64 within 1e-12 of the sum over pairs, in one piece or in blocks of rows, with padding or not."""
    monkeypatch.setattr(losses, "ROWS_AT_ONCE", rows)
    torch.manual_seed(0)
    first, second = torch.randn(2, 13, 6, dtype=torch.float64)
    valid = torch.arange(13) < 13 - padded
    found = nt_xent(first, second, temperature, valid)
    assert float(found) == pytest.approx(slow_nt_xent(first, second, temperature, valid.tolist()), abs=1e-12)


@pytest.mark.parametrize("padded", [0, 4])
@pytest.mark.parametrize("rows", [1000, 7])
def test_near_points_of_a_sample_are_no_negatives(padded, rows, monkeypatch):
    """As in the sum over pairs that leaves them out; points of other samples and the partner always stay."""
    monkeypatch.setattr(losses, "ROWS_AT_ONCE", rows)
    torch.manual_seed(0)
    samples, count, distance = 3, 6, 5.0
    first, second = torch.randn(2, samples * count, 4, dtype=torch.float64)
    places = torch.randint(0, 9, (samples, count, 3)).double()
    valid = torch.arange(samples * count) < samples * count - padded

    def too_near(i, j) -> bool:
        apart = (places.flatten(0, 1)[i] - places.flatten(0, 1)[j]).norm()
        return i != j and i // count == j // count and bool(apart < distance)

    near = near_each_other(places, distance)
    assert 0 < near.sum() < near.numel() - samples * count
    found = nt_xent(first, second, 0.1, valid, near)
    assert float(found) == pytest.approx(slow_nt_xent(first, second, 0.1, valid.tolist(), too_near), abs=1e-12)
    assert float(found) < float(nt_xent(first, second, 0.1, valid))
    assert float(nt_xent(first, second, 0.1, valid, near & False)) == float(nt_xent(first, second, 0.1, valid))


@pytest.mark.parametrize("rows", [1000, 3])
def test_the_gradient_without_near_points_is_that_of_the_loss(rows, monkeypatch):
    """As small steps show, in one piece or in blocks of rows."""
    monkeypatch.setattr(losses, "ROWS_AT_ONCE", rows)
    torch.manual_seed(0)
    first, second = torch.randn(2, 6, 3, dtype=torch.float64, requires_grad=True)
    near = near_each_other(torch.randint(0, 4, (2, 3, 2)).double(), 2.5)
    assert near.any()
    assert torch.autograd.gradcheck(lambda one, other: nt_xent(one, other, 0.2, None, near), (first, second))


def test_blocks_of_rows_have_the_same_gradient(monkeypatch):
    """The gradient does not depend on the blocks, and padding gets none."""
    torch.manual_seed(0)
    first, second = torch.randn(12, 5, requires_grad=True), torch.randn(12, 5)
    valid = torch.arange(12) < 9
    (whole,) = torch.autograd.grad(nt_xent(first, second, 0.1, valid), first)
    monkeypatch.setattr(losses, "ROWS_AT_ONCE", 5)
    (blocks,) = torch.autograd.grad(nt_xent(first, second, 0.1, valid), first)
    torch.testing.assert_close(whole, blocks)
    assert not blocks[9:].any()


@pytest.mark.parametrize("padded", [0, 2])
@pytest.mark.parametrize("rows", [1000, 3])
def test_the_gradient_is_that_of_the_loss(padded, rows, monkeypatch):
    """As small steps in any direction show, in one piece or in blocks of rows."""
    monkeypatch.setattr(losses, "ROWS_AT_ONCE", rows)
    torch.manual_seed(0)
    first, second = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    valid = torch.arange(5) < 5 - padded if padded else None
    assert torch.autograd.gradcheck(lambda one, other: nt_xent(one, other, 0.2, valid), (first, second))


@pytest.mark.parametrize("count", [0, 1])
def test_without_negatives_there_is_no_loss(count):
    """No pair, or one pair alone, costs nothing and breaks nothing."""
    first, second = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4)
    loss = nt_xent(first, second, 0.05, torch.arange(3) < count)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0)
    assert torch.isfinite(first.grad).all()


def test_reduced_precision_does_not_reach_the_loss():
    """Under bfloat16 autocast the loss of float32 vectors is that without it."""
    first, second = torch.randn(2, 30, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = nt_xent(first, second, 0.01)
    assert torch.equal(found, nt_xent(first, second, 0.01))


def test_affinity_loss_gives_both_classes_the_same_weight():
    """The weighted sum over voxels, where unknown ones count nothing."""
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 40, dtype=torch.float64)
    targets, mask = (torch.rand(2, 3, 40) < 0.8).double(), torch.rand(2, 3, 40) < 0.7
    ones, zeros = (int(((targets == value) & mask).sum()) for value in (1, 0))
    total = 0.0
    for logit, target, known in zip(logits.flatten(), targets.flatten(), mask.flatten(), strict=True):
        if known:
            probability = 1 / (1 + math.exp(-logit))
            share = (ones if target else zeros) / (ones + zeros)
            total -= math.log(probability if target else 1 - probability) / (2 * share)
    assert float(affinity_loss(logits, targets, mask)) == pytest.approx(total / (ones + zeros), abs=1e-12)


@pytest.mark.parametrize("axis", [1, 2])
def test_foreground_is_balanced_by_itself(axis):
    """The loss of both is the sum of the loss of the affinities and that of the last channel."""
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 3, 40), (torch.rand(2, 3, 40) < 0.8).float()
    targets[:, 2] = 0
    mask = torch.rand(2, 3, 40) < 0.7
    parts = [part.movedim(1, axis) for part in (logits, targets, mask)]
    apart = (
        affinity_loss(logits[:, :2], targets[:, :2], mask[:, :2]),
        affinity_loss(*(part[:, 2] for part in (logits, targets, mask))),
    )
    torch.testing.assert_close(segmentation_loss(*parts, 2, axis), sum(apart))
    torch.testing.assert_close(segmentation_loss(*parts, 3, axis), affinity_loss(logits, targets, mask))


def test_nothing_known_costs_nothing():
    """A batch without a known affinity has loss 0 and gradient 0."""
    logits = torch.randn(1, 2, 4, requires_grad=True)
    loss = affinity_loss(logits, torch.zeros(1, 2, 4), torch.zeros(1, 2, 4, dtype=torch.bool))
    loss.backward()
    assert float(loss.detach()) == 0
    assert not logits.grad.any()
