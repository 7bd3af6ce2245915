"""A made-up region graph merges in boxes to the dendrogram of the whole, and its size is what was asked for."""

from __future__ import annotations

import pytest

from tests.scale.graph import edges_in, main, shape_of


@pytest.mark.slow
def test_boxes_and_the_whole_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    """One line each, the same dendrogram, more than one box, and 0 for it."""
    assert main(["--edges", "8e5", "--memory", "20MB", "--whole"]) == 0
    boxes, whole = capsys.readouterr().out.splitlines()[1:]
    assert boxes.rpartition(" ")[2] == whole.rpartition(" ")[2]
    assert "at once" in whole
    assert int(boxes.split(" edges, ")[1].split()[0]) > 2


@pytest.mark.parametrize("edges", [1e7, 1e8, 1e9])
def test_there_are_about_as_many_edges_as_asked_for(edges: float) -> None:
    """Within a fifth: a volume is made of whole blocks."""
    assert 0.8 * edges < edges_in(shape_of(edges)) < 1.2 * edges
