"""NT-Xent over pairs of points, and affinity loss balanced between the two classes. Always in float32 or finer.

Shape letters: N views of points (both views one after the other), C channels, B samples of P points each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

ROWS_AT_ONCE = 1000
"""Above twice this many rows the similarity matrix is made in blocks of rows, and again in the backward pass."""


@dataclass(frozen=True)
class Negatives:
    """Which views a view is compared with, itself apart: its partner and the negatives."""

    valid: Tensor | None
    """(N,): False for padding; None: all are valid."""

    near: Tensor | None
    """(B, P, P): True where two points of a sample are too near each other for negatives; None: none. N is 2 B P."""

    def leave(self, similarity: Tensor, rows: slice) -> None:
        """Make the similarity of `rows` to all views -inf, in place, where one is no candidate."""
        if self.valid is not None:  # rows of padding are dropped afterwards; they only have to stay finite
            similarity.masked_fill_(~self.valid[None, :] & self.valid[rows, None], -torch.inf)
        if self.near is not None:
            samples, count = self.near.shape[:2]
            points = torch.arange(rows.start, rows.start + len(similarity), device=similarity.device)
            points = points % (samples * count)  # of either view
            sample = points // count
            # only the columns of a row's own sample are looked at: 2 P of N
            own = similarity.view(-1, 2, samples, count)
            each = torch.arange(len(similarity), device=similarity.device)
            near = self.near[sample, points % count]
            own[each, :, sample] = own[each, :, sample].masked_fill(near[:, None], -torch.inf)


def near_each_other(places_BPD: Tensor, distance: float) -> Tensor:
    """(B, P, P): True for two different points of one sample less than `distance` apart, in the units of the places."""
    near = torch.cdist(places_BPD, places_BPD, compute_mode="donot_use_mm_for_euclid_dist") < distance
    near.diagonal(dim1=1, dim2=2).fill_(False)
    return near


def nt_xent(
    first_PC: Tensor,
    second_PC: Tensor,
    temperature: float,
    valid_P: Tensor | None = None,
    near_BPP: Tensor | None = None,
) -> Tensor:
    """Mean over all 2 P views of -log softmax(cosine similarity / temperature) at the partner.

    Row i of `first_PC` and of `second_PC` are the same point in two views. All other valid views are negatives, but for
    those that `near_BPP` names, see `near_each_other`; rows are then the points of B samples one after the other.
    valid_P: False for padding, which does not count; 0 if fewer than two pairs are valid.
    """
    z_NC = functional.normalize(_at_least_float32(torch.cat([first_PC, second_PC])), dim=1)
    count = len(first_PC)
    rows = torch.arange(2 * count, device=z_NC.device)
    partner_N = (rows + count) % (2 * count)
    valid_N = None if valid_P is None else valid_P.repeat(2)
    negatives = Negatives(valid_N, near_BPP)
    total: Tensor
    if len(rows) <= 2 * ROWS_AT_ONCE:
        total = _row_losses(z_NC, slice(0, len(rows)), partner_N, negatives, temperature)
    else:
        # recomputing a block in the backward pass costs less than keeping the whole matrix
        total = sum(
            (
                checkpoint(
                    _row_losses,
                    z_NC,
                    slice(begin, begin + ROWS_AT_ONCE),
                    partner_N,
                    negatives,
                    temperature,
                    use_reentrant=False,
                )
                for begin in range(0, len(rows), ROWS_AT_ONCE)
            ),
            start=z_NC.new_zeros(()),
        )
    return total / (max(1, len(rows)) if valid_N is None else valid_N.sum().clamp(min=1))


def _row_losses(z_NC: Tensor, rows: slice, partner_N: Tensor, negatives: Negatives, temperature: float) -> Tensor:
    """Summed loss of the valid views among `rows`."""
    valid_N = negatives.valid
    losses: Tensor = _SoftmaxLoss.apply(z_NC, rows, partner_N[rows], negatives, temperature)
    return losses.sum() if valid_N is None else torch.where(valid_N[rows], losses, 0.0).sum()


class _SoftmaxLoss(torch.autograd.Function):
    """-log softmax(z_r . z / temperature) at the partner, for each row r; itself is no candidate.

    The matrix of similarities is made, turned into its powers and used for the gradient in one place, since reading and
    writing it is what takes time; torch's own operations keep three such matrices.
    """

    @staticmethod
    def forward(
        ctx: Any, z_NC: Tensor, rows: slice, partners: Tensor, negatives: Negatives, temperature: float
    ) -> Tensor:
        with torch.autocast(z_NC.device.type, enabled=False):
            similarity = (z_NC[rows] / temperature) @ z_NC.T
            similarity.diagonal(rows.start).fill_(-torch.inf)
            negatives.leave(similarity, rows)
            # The largest power is 1 then, so none overflows. The partner's similarity is lowered alike, so the loss is
            # the same.
            similarity -= similarity.amax(1, keepdim=True)
            chosen = similarity.gather(1, partners[:, None])
            # In place: the matrix is the only large thing, and backward wants the powers, not the similarities.
            powers = similarity.exp_()
            total = powers.sum(1, keepdim=True)
        ctx.save_for_backward(z_NC, partners, powers, total)
        ctx.rows, ctx.temperature = rows, temperature
        return (total.log() - chosen)[:, 0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        z_NC, partners, powers, total = ctx.saved_tensors
        # The loss of row r is log(sum of powers) - similarity to the partner, so by the similarity to j it grows with
        # the share of j in the powers, less 1 at the partner. Each similarity is a product of two views, and both get
        # their part.
        weights = (grad / ctx.temperature)[:, None]
        with torch.autocast(z_NC.device.type, enabled=False):
            weighted = weights * z_NC[ctx.rows]
            # As candidates: view j gets z_r times its share, of every row r. Dividing the rows, not the matrix, saves a
            # copy of it.
            found = powers.T @ (weighted / total)
            # As rows: view r gets the mean of all candidates by their shares, less its partner.
            found[ctx.rows] += weights * ((powers @ z_NC) / total - z_NC[partners])
            # As partners: the 1 that is taken off, on top of what these views got as candidates and as rows.
            found.index_add_(0, partners, weighted, alpha=-1)
        return found, None, None, None, None


def affinity_loss(logits: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
    """Binary cross entropy in which the ones and the zeros of the batch weigh the same.

    logits: any shape; targets: same shape, 0 or 1; mask: same shape, True where the target is known (default all).
    A class rarer than 5 % is weighted as if it were 5 %. 0 if nothing is known.
    """
    logits, targets = _at_least_float32(logits), targets.to(logits.device)
    with torch.autocast(logits.device.type, enabled=False):
        known = torch.ones_like(targets, dtype=torch.bool) if mask is None else mask
        count = known.sum().clamp(min=1)
        ones = ((targets > 0.5) & known).sum().to(logits.dtype) / count
        share = torch.where(targets > 0.5, ones, 1 - ones).clamp(0.05, 0.95)
        losses = functional.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none")
        weighted = torch.where(known, losses / (2 * share), 0.0)
    return weighted.sum() / count


def segmentation_loss(logits: Tensor, targets: Tensor, mask: Tensor, affinities: int, channels: int = 1) -> Tensor:
    """Balanced loss of the first `affinities` channels, plus that of the foreground channel where there is one.

    Each is balanced by itself: foreground is rare in one image and everywhere in the next, other than affinities.
    channels: the axis of channels in all three.
    """
    count = logits.shape[channels]
    tensors = (logits, targets, mask)
    loss = affinity_loss(*(one.narrow(channels, 0, affinities) for one in tensors))
    if count > affinities:
        loss = loss + affinity_loss(*(one.narrow(channels, affinities, count - affinities) for one in tensors))
    return loss


def class_loss(logits: Tensor, targets: Tensor, mask: Tensor, channels: int = 1) -> Tensor:
    """Softmax cross entropy in which every class present in the batch weighs the same; 0 if nothing is known.

    logits: a class for each channel of the axis `channels`; targets: the number of the class, int64, with one channel;
    mask: as targets, True where the class is known.
    """
    logits = _at_least_float32(logits).movedim(channels, 1)
    known = mask.select(channels, 0)
    wanted = torch.where(known, targets.select(channels, 0), 0)
    with torch.autocast(logits.device.type, enabled=False):
        losses = functional.cross_entropy(logits, wanted, reduction="none")
        each = [(wanted == number) & known for number in range(logits.shape[1])]
        means = [(losses * one).sum() / one.sum().clamp(min=1) for one in each]
        present = sum((one.any() for one in each), start=losses.new_zeros(()))
    return torch.stack(means).sum() / present.clamp(min=1)


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
