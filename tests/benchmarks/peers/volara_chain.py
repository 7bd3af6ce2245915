"""volara from stored affinities to stored segments; runs in the environment of the peers, which has no blockwise.

`python volara_chain.py AFFINITIES OUTPUT BLOCK CONTEXT WORKERS` with BLOCK and CONTEXT like 64,96,128. The tasks are
those of the example in volara's README, for the three nearest neighbours and a threshold of 0.5.
"""

from __future__ import annotations

import sys
from pathlib import Path

from funlib.geometry import Coordinate
from funlib.persistence import open_ds
from volara.blockwise import AffAgglom, ExtractFrags, GraphMWS, Relabel
from volara.datasets import Affs, Labels
from volara.dbs import SQLite
from volara.logging import set_log_basedir
from volara.lut import LUT

NEAREST = [Coordinate(-1, 0, 0), Coordinate(0, -1, 0), Coordinate(0, 0, -1)]
BIAS = -0.5


def segment(affinities: Path, output: Path, block: Coordinate, context: Coordinate, workers: int) -> None:
    """Fragments, their graph in SQLite, one global mutex watershed on it, segments."""
    set_log_basedir(output.parent / "volara-logs")
    affs = Affs(store=affinities, neighborhood=NEAREST)
    fragments, lut = Labels(store=output / "fragments"), LUT(path=output / "lut.npz")
    db = SQLite(path=output / "db.sqlite", edge_attrs={"adj_weight": "float"})
    roi = open_ds(affinities).roi
    by_block = {"block_size": block, "num_workers": workers}
    with_affinities = {"db": db, "affs_data": affs, "frags_data": fragments, "context": context, **by_block}
    pipeline = (
        ExtractFrags(bias=[BIAS] * len(NEAREST), **with_affinities)
        + AffAgglom(scores={"adj_weight": NEAREST}, **with_affinities)
        + GraphMWS(db=db, lut=lut, weights={"adj_weight": (1.0, BIAS)}, roi=(roi.begin, roi.shape))
        + Relabel(frags_data=fragments, seg_data=Labels(store=output / "segments"), lut=lut, **by_block)
    )
    pipeline.run_blockwise()


def voxels(text: str) -> Coordinate:
    """Three numbers with commas between them."""
    return Coordinate(int(part) for part in text.split(","))


if __name__ == "__main__":
    source, target, block_text, context_text, count = sys.argv[1:]
    segment(Path(source), Path(target), voxels(block_text), voxels(context_text), int(count))
