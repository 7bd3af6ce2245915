"""Whether skeletons lie in the volume at all, and if not, what was probably mistaken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from blockwise.arrays.info import Info
from blockwise.arrays.placement import in_words
from blockwise.arrays.units import NANOMETRES
from blockwise.errors import BadInput
from blockwise.stages.evaluate.skeletons import Skeletons

FEW_NODES = 3
"""Fewer nodes may lie side by side."""
FEW_VOXELS = 3
"""Skeletons whose nodes all lie in so many voxels along each axis show nothing."""
MOSTLY = 0.7
"""Of the nodes: where more lie inside, if they are read in another way, that is the likely cause."""
MOSTLY_UNUSED = 0.5
"""Nodes that are whole numbers and take up less of the volume along each axis may be numbers of voxels."""
LONG = 2
"""Numbers of voxels are told from lengths where a voxel is so long, in the unit of the volume."""
OTHER_UNITS = ("nm", "um", "mm", "m")


def check_place(skeletons: Skeletons, space: Info, path: Path) -> int:
    """How many nodes lie outside of the volume; raises BadInput if most do, or if all lie in a few voxels.

    A unit is also taken for mistaken where the nodes would fill the volume in another one a thousand times as large.
    """
    inside = share_inside(skeletons.places, space)
    total = len(skeletons.places)
    outside = total - int(inside.sum())
    wanted = f"z, y, x in {space.units[0]}, from the same origin as the offset of the volume, {in_words(space)}"
    if not inside.any() or outside * 2 > total:
        raise BadInput(
            path,
            "most nodes lie outside of the volume" if inside.any() else "no node lies in the volume",
            got=f"{outside} of {total} nodes outside",
            wanted=wanted,
            todo=likely_cause(skeletons.places, space),
        )
    voxels = skeletons.voxels(space)[inside]
    extent = voxels.max(0) - voxels.min(0) + 1
    if total >= FEW_NODES and (max(extent) <= FEW_VOXELS < max(space.spatial) or _smaller_unit(skeletons, space)):
        raise BadInput(
            path,
            f"all {total} nodes lie in a few voxels",
            got=" x ".join(map(str, extent)),
            wanted=wanted,
            todo=likely_cause(skeletons.places, space),
        )
    if total >= FEW_NODES and _fills_in_voxels(skeletons.places, space):
        raise BadInput(
            path,
            "the nodes fill the volume if they are numbers of voxels, and a corner of it as they are",
            got=f"{' x '.join(map(str, extent))} voxels",
            wanted=wanted,
            todo="multiply them with the voxel size and add the offset",
        )
    return outside


def doubt_of_place(skeletons: Skeletons, space: Info) -> str | None:
    """Why nodes in the volume may be numbers of voxels nevertheless, and what to do then; None if nothing says so.

    Straight and flat skeletons fill no volume in either reading, so this is a word and no refusal.
    """
    places, size, spatial = skeletons.places, np.array(space.voxel_size), np.array(space.spatial)
    could_be = ((places >= 0) & (places < spatial)).all() and (size != 1).any() and len(places) >= FEW_NODES
    if not could_be or _is_on_voxels(places, space):
        return None
    extent = np.ptp(places, axis=0)
    used = extent / (size * spatial)
    are_whole = bool((places == np.rint(places)).all())
    if are_whole and ((size != np.rint(size)).any() or max(used) < MOSTLY_UNUSED):
        why = "all are whole numbers"
    elif min(size) >= LONG and max(extent / spatial) >= MOSTLY:
        why = "they reach through the volume then"
    else:
        return None
    shares = ", ".join(f"{share:.0%}" for share in used)
    return (
        f"the nodes may be numbers of voxels: {why}, and as {space.units[0]} they take up {shares} of the volume along "
        "z, y, x; if so, multiply them with the voxel size and add the offset"
    )


def share_inside(places: np.ndarray, space: Info) -> np.ndarray:
    """(n,) bool: which places, z, y, x in the unit of the volume, lie in it."""
    voxels = np.floor((places - np.array(space.offset)) / np.array(space.voxel_size))
    inside: np.ndarray = ((voxels >= 0) & (voxels < np.array(space.spatial))).all(1)
    return inside


def likely_cause(places: np.ndarray, space: Info) -> str:
    """What to do if the nodes lie in the volume once they are read in another way, the one that fits best."""
    found, best = "check their unit, the order of their axes, and the offset of the volume", MOSTLY
    for cause, moved in other_readings(places, space):
        extent = np.ptp(moved / np.array(space.voxel_size), axis=0)
        share = float(share_inside(moved, space).mean())
        if share > best and (len(places) < FEW_NODES or max(extent) > FEW_VOXELS):
            found, best = cause, share
    return found


def other_readings(places: np.ndarray, space: Info) -> Iterator[tuple[str, np.ndarray]]:
    """What may be wrong with the places, and where they would then lie."""
    size = np.array(space.voxel_size)
    offset = np.array(space.offset)
    unit = space.units[0]
    ways = [("", places), (" with x and z exchanged", places[:, ::-1])]
    for how, turned in ways:
        if how:
            yield "they seem to have x and z exchanged: exchange them", turned
        for other in OTHER_UNITS:
            if other != unit and unit in NANOMETRES:
                ratio = NANOMETRES[other] / NANOMETRES[unit]
                yield f"they seem to be in {other}{how}: give them in {unit}", turned * ratio
        yield (
            f"they seem to be in voxels{how}: multiply them with the voxel size and add the offset",
            turned * size + offset,
        )
        yield f"they seem to lack the offset of the volume{how}: add it", turned + offset


def _fills_in_voxels(places: np.ndarray, space: Info) -> bool:
    """Whether places are as far apart as the volume is long on each axis, if they are numbers of voxels.

    Only where voxels are long enough that this is a small part of the volume: else they may well be what they should.
    """
    extent = np.ptp(places, axis=0) / np.array(space.spatial)
    inside = (places >= 0) & (places < np.array(space.spatial))
    return bool(min(space.voxel_size) >= LONG and min(extent) >= MOSTLY and inside.all())


def _is_on_voxels(places: np.ndarray, space: Info) -> bool:
    """Whether all places are corners of voxels, or all are middles, along axes on which few whole numbers are."""
    size = np.array(space.voxel_size)
    is_long = size > 1
    voxels = ((places - np.array(space.offset)) / size)[:, is_long]
    corners, middles = (np.abs(at - np.rint(at)).max(0) < 1e-6 for at in (voxels, voxels + 0.5))
    return bool(is_long.any() and (corners | middles).all())


def _smaller_unit(skeletons: Skeletons, space: Info) -> bool:
    """Whether nearly all nodes also lie in the volume if their numbers are a thousand times as large."""
    extent = np.ptp(skeletons.places, axis=0) / (np.array(space.voxel_size) * np.array(space.spatial))
    return bool(max(extent) < 1e-3 and share_inside(skeletons.places * 1e3, space).mean() >= MOSTLY)
