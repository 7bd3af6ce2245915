"""All tables that stages hand on through the store: who writes them, who reads them, and what a row means.

Rows lie under the key of the block that wrote them (`blockwise.grid`) unless something else is said.
"""

from __future__ import annotations

import numpy as np

from blockwise.kernels.components import PAIR
from blockwise.kernels.graph.boxes import LINK, MERGE, WHERE
from blockwise.kernels.graph.edges import EDGE, HISTOGRAM
from blockwise.kernels.graph.leaves import NAMED, ROOT, SHARED
from blockwise.kernels.measures import BRIGHTNESS, EXTENT, FACES
from blockwise.kernels.tables import OVERLAP
from blockwise.store.table import Table

NUMBER = np.dtype("<u8")
"""A fragment by its number."""
NODE = np.dtype([("fragment", "<u8")])
"""A fragment that has voxels in the block, by its provisional number."""
BITS = np.dtype([("bits", "u1")])
"""Eight voxels of a face: does the link go on?"""
NAME = np.dtype([("provisional", "<u8"), ("fragment", "<u8")])
"""A provisional number and the final one."""
VOXELS = np.dtype([("fragment", "<u8"), ("voxels", "<u8")])
"""A fragment and how many voxels of it lie in the block."""
SEGMENT = np.dtype([("fragment", "<u8"), ("segment", "<u8")])
"""A fragment and its segment."""
MAKING = np.dtype("S64")
"""A fingerprint of the stage `fragments`."""
PLACED = np.dtype([("node", "<u8"), ("z", "<i8"), ("y", "<i8"), ("x", "<i8")])
"""A node of a skeleton, by its place in the file, and the voxel of the volume that it lies in."""
FOUND = np.dtype([("node", "<u8"), ("fragment", "<u8")])
"""A node of a skeleton and the fragment that it lies in, 0 for background."""
SIZE = np.dtype([("key", "<i8"), ("nbytes", "<i8")])
"""A block and the bytes of edges, histograms and joins that it counted."""
LEAF = np.dtype([("key", "<i8"), ("leaf", "<i8")])
"""A block, and the leaf that it is in."""
TEXT = np.dtype("u1")
"""A byte of a text in JSON."""
SOLVED = np.dtype([("level", "<i8"), ("first", "<i8"), ("above", "<i8")])
"""A box: 0 or the number of its level, its first leaf, and the row of the box that it is a part of; -1 for the last."""

LINKS = Table("links", BITS, "fragments")
"""fragments -> edges, audit: for each voxel of the block's three low faces, whether its link goes on outside."""
RENAMED = Table("renamed", MAKING, "fragments")
"""segment -> growth: under key 0, the fragments that may have final numbers on disk."""
COUNTED = Table("counted after renaming", MAKING, "fragments")
"""edges -> growth: under key 0, the fragments that had final numbers when edges were counted."""

EDGES = Table("edges", EDGE, "edges")
"""edges -> agglomerate, absorb, evaluate, audit: two touching fragments, the sum of their affinities, how many."""
HISTOGRAMS = Table("histograms", HISTOGRAM, "edges")
"""edges -> agglomerate, audit: the same affinities in bins, if the statistic needs them."""
JOINS = Table("joins", PAIR, "edges")
"""edges -> agglomerate, growth: two provisional numbers of one fragment."""
NODES = Table("nodes", NODE, "edges")
"""edges -> agglomerate: the fragments in the block."""

NAMES = Table("names", NAME, "agglomerate")
"""agglomerate -> absorb, segment, evaluate, growth, audit: what the fragments in the block are called for good."""

FRAGMENT_VOXELS = Table("voxels", VOXELS, "absorb")
"""absorb -> absorb (finish): the voxels of each fragment, by the number that it has on disk."""

SKELETON_NODES = Table("skeleton nodes", PLACED, "evaluate")
"""evaluate (prepare) -> evaluate: the nodes in the block."""
NODES_AT_SKELETON = Table("nodes at skeleton", FOUND, "evaluate")
"""evaluate -> evaluate (finish): the fragments of these nodes."""
OVERLAPS = Table("overlap", OVERLAP, "evaluate")
"""evaluate -> evaluate (finish): voxels shared by a fragment and a true object."""

EXTENTS = Table("extents", EXTENT, "objects")
"""objects -> the table of objects: voxels of each fragment, where they lie, whether at the border."""
BRIGHTNESSES = Table("brightness", BRIGHTNESS, "objects")
"""objects -> the table of objects: sums of the values of raw in each fragment."""
TOUCHING = Table("touching", FACES, "objects")
"""objects -> the table of objects: faces between two fragments, along each axis."""

MESHED = Table("meshed", NODE, "export/meshes")
"""export/meshes -> export/meshes (finish): the segments with a surface in the block."""

BOXES = "boxes of agglomerate"
"""What the tables of boxes belong to in the store; no stage is called so."""


def _of_boxes(kind: str, dtype: np.dtype, stage: str = BOXES) -> Table:
    return Table(f"{BOXES}: {kind}", dtype, stage)


# Within agglomerate, when the graph is solved in boxes. They lie on a `Shelf`, under the numbers of leaves.
SIZES = _of_boxes("sizes", SIZE, "agglomerate/sizes")
"""sizes -> the cut into leaves; by layer of blocks."""
CUT = _of_boxes("cut", LEAF)
"""The cut into leaves -> borders, shared, leaves, pieces; all under 0."""
ABROAD = _of_boxes("abroad", NUMBER)
"""borders -> shared: numbers in a leaf that are at home in another."""
ASKED = _of_boxes("asked", NUMBER)
"""borders -> shared: the same, from leaf to leaf, sent to the one that they are at home in."""
INSIDE = _of_boxes("inside", ROOT)
"""borders -> shared, leaves: what joins inside a leaf make of a number."""
LEAF_FRAGMENTS = _of_boxes("fragments", NUMBER)
"""leaves -> pieces: the fragments that begin in a leaf."""
SOLVED_BOXES = _of_boxes("solved", SOLVED)
"""The last box -> pieces, agglomerate: all boxes, each after those within it, once the graph is solved; under 0."""


def shared_of(level: int) -> Table:
    """shared, united -> united: the numbers in the boxes of a level that others have, too; under a box's first leaf."""
    return _of_boxes(f"shared {level}", SHARED)


def united_of(level: int) -> Table:
    """united -> named: what fragments in the boxes of a level are called in the next larger one, and where else they
    are; under a box's first leaf."""
    return _of_boxes(f"united {level}", NAMED)


def named_of(level: int) -> Table:
    """named -> named, leaves: the same with final numbers."""
    return _of_boxes(f"named {level}", NAMED)


def merges_of(level: int) -> Table:
    """Boxes -> pieces: the merges found in the boxes of a level; under a box's first leaf."""
    return _of_boxes(f"merges {level}", MERGE)


def rest_of(level: int) -> tuple[Table, Table, Table, Table]:
    """Boxes -> larger boxes, pieces: clusters, edges, histograms and places that the boxes of a level left over."""
    return (
        _of_boxes(f"clusters {level}", NUMBER),
        _of_boxes(f"edges {level}", LINK),
        _of_boxes(f"bins {level}", HISTOGRAM),
        _of_boxes(f"where {level}", WHERE),
    )


def segments_of(stage: str) -> Table:
    """Segment (prepare) -> segment: the segments of the fragments in the block at the threshold of that stage."""
    return Table(stage, SEGMENT, stage)


def begins_of(stage: str) -> Table:
    """Layers of segment -> the numbers of segments: the segments that begin in a layer of blocks; on a `Shelf`."""
    return Table(f"{stage}: begins", NUMBER, stage)


def numbers_of(stage: str) -> Table:
    """Layers of segment -> segment: the compact numbers of the segments that begin in the block."""
    return Table(f"{stage}: numbers", SEGMENT, stage)


def became_of(stage: str) -> Table:
    """Boxes of segment -> the boxes within, leaves: what the clusters that a box handed on became above it.

    They lie on a `Shelf`, under the row of the box among all boxes, until that stage is finished.
    """
    return Table(f"{stage}: became", SEGMENT, f"boxes of {stage}")


SCORED = "boxes of evaluate"
"""What the tables belong to that boxes hand on as they are scored; no stage is called so."""

# They lie on a `Shelf`, under the row of a box among all boxes.
TRUTHS_IN_LEAF = Table("truths in leaf", OVERLAP, "evaluate")
"""evaluate/truths -> evaluate (closing): the voxels of true objects in the blocks of a leaf, all with fragment 0."""
TRUTHS = Table("truths", OVERLAP, "evaluate")
"""evaluate (closing) -> boxes of evaluate, evaluate (finish): those of the volume that are scored; under 0."""
ADDED = Table("scores of box", TEXT, "evaluate")
"""Boxes of evaluate -> evaluate (finish): what a box adds to scores, and the sums of what it handed on."""
ASSIGNED = Table("assigned in box", OVERLAP, "evaluate")
"""Boxes of evaluate -> evaluate (finish): the true objects that fragments belong to, with true objects."""
MATCHED = Table("matches in box", TEXT, "evaluate")
"""Boxes of evaluate -> evaluate (finish): what a box adds to the scores of objects."""
HANDED_ON = (
    Table("clusters handed on", OVERLAP, SCORED),
    Table("merges handed on", MERGE, SCORED),
    Table("fragments handed on", OVERLAP, SCORED),
)
"""Boxes of evaluate -> those around: clusters that go on, merges of them that wait, fragments with voxels outside."""


def objects_of(place: int) -> Table:
    """Boxes of evaluate -> the boxes around: the clusters that go on at a threshold, by its place among these."""
    return Table(f"objects {place} handed on", OVERLAP, SCORED)
