"""The dendrogram that segments are cut from: as it was merged, with corrections, without small segments."""

from __future__ import annotations

from blockwise.arrays.volume import Volume
from blockwise.grid import Voxels
from blockwise.kernels.graph.rules import SmallRules
from blockwise.stage import Stage
from blockwise.stages.absorb import Absorb
from blockwise.stages.agglomerate.stage import Agglomerate
from blockwise.stages.correct import Correct
from contraband.volumes.correct.pairs import pairs_of, read_corrections
from contraband.volumes.output import Output
from contraband.volumes.settings import VolumeSettings


def tree_of(settings: VolumeSettings) -> Volume:
    """Where it lies."""
    output = Output(settings.output)
    return output.absorbed if settings.segment.min_voxels else output.tree


def graph_ends(settings: VolumeSettings) -> str:
    """The word of the stage that makes it."""
    if settings.segment.min_voxels:
        return Absorb.name
    return Correct.name if Output(settings.output).corrections.exists() else Agglomerate.name


def corrections(settings: VolumeSettings, affinities: Volume, shape: Voxels, block: Voxels) -> list[Stage]:
    """The stage that applies the corrections of somebody who has looked at the result, if there are any."""
    output = Output(settings.output)
    if not output.corrections.exists():
        return []
    found = read_corrections(output.corrections, shape)
    return [
        Correct(
            affinities=affinities,
            fragments=output.fragments,
            dendrogram=output.dendrogram,
            target=output.corrected,
            shape=shape,
            block=block,
            settings=settings.agglomerate,
            together=pairs_of(found, "join"),
            apart=pairs_of(found, "split"),
        )
    ]


def absorption(settings: VolumeSettings, shape: Voxels, block: Voxels) -> list[Stage]:
    """The stage that joins small segments with others, if there are to be none."""
    output, chosen = Output(settings.output), settings.segment
    if not chosen.min_voxels:
        return []
    return [
        Absorb(
            fragments=output.fragments,
            dendrogram=output.tree,
            target=output.absorbed,
            shape=shape,
            block=block,
            settings=SmallRules(min_voxels=chosen.min_voxels, isolated=chosen.isolated),
        )
    ]
