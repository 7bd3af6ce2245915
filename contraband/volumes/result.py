"""What a run has made, as arrays and tables: `contraband.open_result`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from funlib.geometry import Roi

from blockwise.arrays.lazy import LazyVolume
from blockwise.arrays.volume import Volume, info, read
from blockwise.engine.preflight import is_substage, stage_word
from blockwise.errors import BadInput
from blockwise.grid import Block, Grid, as_voxels, pack
from blockwise.kernels.components import components, unique_pairs
from blockwise.kernels.graph.agglomeration import Dendrogram, cut
from blockwise.kernels.tables import relabel
from blockwise.stages.absorb import Absorb
from blockwise.stages.agglomerate.region_graph import RegionGraph
from blockwise.stages.agglomerate.stage import read_dendrogram
from blockwise.stages.segment import named
from blockwise.stages.tables import JOINS
from blockwise.store.base import StageInfo
from contraband.volumes.belonging import find_belonging, is_store_there, opened_store
from contraband.volumes.output import Output
from contraband.volumes.report import as_rows, read_json
from contraband.volumes.run import check_owner
from contraband.volumes.settings import VolumeSettings


class Result:
    """The output of a run and its store, to be read; made by `contraband.open_result`.

    Volumes are lazy: they are read when they are sliced. What is not finished yet raises BadInput, which says what to
    run. A run may go on meanwhile; each call sees what is finished then.

    Example:
        result = contraband.open_result(settings)
        print(result.segments(0.4)[32], result.scores[0])
    """

    def __init__(self, settings: VolumeSettings) -> None:
        """settings: those of the run; only `output`, `store` and `segment.min_voxels` are used."""
        self.path = settings.output
        """The zarr group of the run."""
        self._settings = settings
        self._output = Output(settings.output)
        if not self.path.is_dir():
            raise BadInput(self.path, "no such output", todo="run the volume first")
        if not is_store_there(settings.store_url):
            todo = "put the file back, or name the store that belongs to this output"
            raise BadInput(settings.store_url, "no such store", todo=todo)
        belonging = find_belonging(settings)
        self._identity = belonging.identity
        with opened_store(settings, self._identity) as store:
            check_owner(store, belonging)

    def __repr__(self) -> str:
        stages = ", ".join(self._stages()) or "nothing"
        return f"{type(self).__name__}({self.path}: {stages} finished)"

    def stored(self, name: str) -> LazyVolume:
        """One of the arrays in the output as it is on disk; BadInput if it is not there.

        name: "affinities" (channel, z, y, x) uint8, 255 for certainly one object; "embeddings" (channel, z, y, x)
        float16; "foreground" (z, y, x) uint8; "segments/0.5" (z, y, x) uint64; "fragments" too, whose numbers are
        provisional until a threshold of `segment` is finished, so that `fragments` is what you want.

        Example:
            affinities = result.stored("affinities")[:, 32]
        """
        volume = self._output.array(name)
        return LazyVolume(info(volume), lambda region: read(volume, region))

    @property
    def fragments(self) -> LazyVolume:
        """(z, y, x) uint64: the final number of each voxel's fragment, 0 for background.

        Needs `agglomerate` to be finished, which names the fragments.
        """
        grid = self._finished("agglomerate", "fragments").grid
        return LazyVolume(info(self._output.fragments), lambda region: self._named(grid, region))

    def segments(self, threshold: float) -> LazyVolume:
        """(z, y, x) uint64: the number of each voxel's segment at any threshold, 0 for background.

        threshold: in [0, 1]; fragments whose merge scores above it are one segment. It need not be among those of the
        run: fragments are renamed through the dendrogram as they are read. The bytes are those that `contraband
        segment` would write. A segment is called by its smallest fragment. Raises BadInput for a threshold outside
        [0, 1] or below the run's `agglomerate.stop`, and if `agglomerate` is not finished.

        Example:
            segments = result.segments(0.4)
            print(len(numpy.unique(segments[:64])))
        """
        grid = self._finished("agglomerate", "fragments").grid
        stop = self.stop
        if not stop <= threshold <= 1:
            todo = f"lower agglomerate.stop from {stop:g}, and run again" if 0 <= threshold < stop else ""
            raise BadInput("threshold", "is not available", got=threshold, wanted=f"{stop:g} to 1", todo=todo)
        tree = self.dendrogram
        segment = cut(tree, threshold)

        def load(region: Roi) -> np.ndarray:
            return relabel(self._named(grid, region), tree.fragment, segment)

        return LazyVolume(info(self._output.fragments), load)

    @property
    def stop(self) -> float:
        """The score at which merging ended, below which there is no threshold; needs `agglomerate` to be finished."""
        return float(self._finished("agglomerate").ingredients["agglomerate.stop"])

    @property
    def region_graph(self) -> np.ndarray:
        """(n,) with fields u, v, sum, count: each pair of touching fragments, u < v, with their final numbers.

        `sum` adds up the stored affinities (255 stands for 1 if they are uint8) of the `count` pairs of voxels between
        them, so `sum / count` is their mean. All of it is read into memory: 28 bytes an edge, some times as much
        meanwhile. Needs `edges` to be finished.

        Example:
            graph = result.region_graph
            mean = graph["sum"] / graph["count"] / 255
        """
        self._finished("edges")
        with opened_store(self._settings, self._identity) as store:
            names = components(unique_pairs(store.rows(JOINS)))
            edges, _ = RegionGraph(store, names, has_histograms=False).read()
        return edges

    @property
    def dendrogram(self) -> Dendrogram:
        """All merges, in memory: `fragment`, `parent` (n,) uint64 and `score` (n,) float64 in [0, 1].

        With the corrections, if there are any, and without small segments if `segment.min_voxels` is set. Each
        fragment, ascending, the fragment whose cluster took it (a root is its own parent), and the score of that merge
        (0 for a root). Needs `agglomerate` to be finished.

        Example:
            tree = result.dendrogram
            print((tree.parent == tree.fragment).sum(), "clusters at the end")
        """
        return read_dendrogram(self.tree)

    @property
    def tree(self) -> Volume:
        """The group of the arrays of `dendrogram`, with corrections if there are any; needs that to be finished."""
        self._finished("agglomerate", *(["correct"] if self._output.corrections.exists() else []))
        if not self._is_absorbed():
            return self._output.tree
        self._finished(Absorb.name)
        return self._output.absorbed

    def _is_absorbed(self) -> bool:
        """Whether segments are cut without small ones: the settings say so, or those that are there are."""
        if self._settings.segment.min_voxels:
            return True
        return any(f"upstream {Absorb.name}" in stage.ingredients for stage in self._stages().values())

    @property
    def evaluation(self) -> dict[str, Any]:
        """All of evaluation.json: `best` (a row), `thresholds` (rows), `best_possible`, `false_merges` (rows).

        Needs `evaluate` to be finished, so labels or skeletons in the settings.
        """
        self._finished("evaluate")
        return read_json(self._output.evaluation)

    @property
    def scores(self) -> list[dict[str, Any]]:
        """A row for each threshold, ascending: `threshold`, `voi_split`, `voi_merge`, `voi_sum` (bits), `arand`, ...

        Also segments and objects found; with skeletons `erl` in the units of the voxel size. None where there is no
        such score. Needs `evaluate` to be finished.

        Example:
            best = min(result.scores, key=lambda row: row["voi_sum"])
            table = pandas.DataFrame(result.scores)
        """
        rows: list[dict[str, Any]] = self.evaluation["thresholds"]
        return rows

    @property
    def report(self) -> list[dict[str, Any]]:
        """A row for each stage that has run: what `contraband.run` gives, of the latest run of each."""
        return as_rows(read_json(self._output.report)["stages"])

    def made_by(self, stage: str) -> Mapping[str, Any]:
        """What the result of a finished stage depends on, as plain data: settings, code version, inputs.

        Keys are those of `contraband status` about what is stale: `embed.weights`, `input 0 (raw)`.
        """
        return self._finished(stage).ingredients

    def blocks_done(self) -> dict[str, int]:
        """How many blocks of each stage are done, by the name of the stage."""
        with opened_store(self._settings, self._identity) as store:
            return {one.name: store.totals(one.name).done for one in store.stages()}

    def _stages(self) -> dict[str, StageInfo]:
        """The finished stages by their names, without what they had others do."""
        with opened_store(self._settings, self._identity) as store:
            known = {one.name: one for one in store.stages()}
        return {name: one for name, one in known.items() if one.finished and not is_substage(name, known)}

    def _finished(self, *names: str) -> StageInfo:
        """What is known of the last of these; BadInput unless all are finished."""
        known = self._stages()
        for name in names:
            if name not in known:
                there = ", ".join(dict.fromkeys(map(stage_word, known))) or "nothing"
                todo = f"run the volume up to {name}"
                if name == "evaluate":
                    todo = "name labels or skeletons in the settings, and run it"
                raise BadInput(self.path, f"{name} is not finished", got=f"{there} finished", todo=todo)
        return known[names[-1]]

    def _named(self, grid: Grid, region: Roi) -> np.ndarray:
        """Final numbers of the fragments in a region, whether provisional ones are on disk or these."""
        ids = read(self._output.fragments, region)
        with opened_store(self._settings, self._identity) as store:
            for block in blocks_in(grid, region):
                box = (block.write_roi.intersect(region) - region.begin).to_slices()
                ids[box] = named(np.ascontiguousarray(ids[box]), block, store)
        return ids


def open_output(path: Path, store: str | None = None) -> Result:
    """The result in an output, `....zarr`; store: its URL, None for SQLite beside the output."""
    return Result(VolumeSettings(output=path, store=store))


def blocks_in(grid: Grid, region: Roi) -> Iterator[Block]:
    """The blocks whose write region meets a region."""
    spans = zip(region.begin, region.end, grid.block, strict=True)
    places = np.mgrid[tuple(slice(low // step, -(-high // step)) for low, high, step in spans)]
    for index in places.reshape(3, -1).T:
        yield grid.block_at(pack(as_voxels(index)))
