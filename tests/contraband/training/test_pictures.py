"""Pictures of a batch: colours of embeddings, and sections."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from contraband.training.pictures import principal_colours, sections


@pytest.mark.parametrize("shape", [(6, 7), (4, 6, 7)])
def test_what_the_network_tells_apart_has_other_colours(shape):
    """Two kinds of voxels along one direction are the two ends of red, and nothing is left for green and blue."""
    kind = torch.rand(2, 1, *shape) > 0.5
    colours = principal_colours(
        torch.where(kind, 3.0, -1.0) * torch.tensor([1.0, 2, 0, 0, 1]).reshape(1, 5, *(1 for _ in shape))
    )
    assert colours.shape == (2, 3, *shape)
    red = colours[:, :1]
    assert red[kind].min() > 0.6 > 0.4 > red[~kind].max()
    torch.testing.assert_close(colours[:, 1:], torch.full_like(colours[:, 1:], 0.5))


@pytest.mark.parametrize("channels", [1, 2, 3, 8])
def test_any_number_of_channels_gives_three_colours(channels):
    """Also fewer than three, also in reduced precision; the same embeddings give the same colours."""
    embeddings = torch.randn(1, channels, 9, 9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        colours = principal_colours(embeddings)
    assert colours.dtype == torch.float32
    assert torch.equal(colours, principal_colours(embeddings))
    assert ((colours >= 0) & (colours <= 1)).all()


def test_sections_are_images():
    """The middle section of the first sample; three channels as colours, otherwise the first; points are left out."""
    raw = np.arange(2 * 1 * 3 * 4 * 5).reshape(2, 1, 3, 4, 5)
    found = sections({"raw": raw, "points": np.zeros((2, 7, 3)), "colours": np.zeros((1, 3, 1, 4, 5))})
    assert set(found) == {"raw", "colours"}
    assert found["colours"].shape == (3, 4, 5)
    np.testing.assert_allclose(found["raw"][0], (raw[0, 0, 1] - 20) / 19)
