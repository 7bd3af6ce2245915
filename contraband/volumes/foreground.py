"""Where fragments take their foreground from: an image that is given, or a channel that the network predicts."""

from __future__ import annotations

from typing import Any

from blockwise.arrays.volume import Volume
from blockwise.errors import BadInput
from blockwise.grid import Voxels
from blockwise.stage import Stage
from blockwise.stages.fragments import check_foreground
from contraband.volumes.settings import VolumeSettings

NAME = "foreground"
"""The array of the output that holds the predicted foreground, beside `affinities`."""


def fragment_settings(settings: VolumeSettings, shape: Voxels, first: list[Stage]) -> dict[str, Any]:
    """The settings of the stage of fragments that the volume's file gives; raises BadInput if there is no foreground.

    first: the stage that predicts, or nothing.
    """
    fields = dict(settings.fragments)
    wanted = fields.pop("foreground")
    if wanted is None:
        return fields
    if wanted.volume is not None:
        volume = Volume(path=wanted.volume)
        check_foreground(volume, shape)
    elif not first:
        raise BadInput(
            "fragments.foreground.volume",
            "is needed where affinities are given",
            got=None,
            wanted="the path of a foreground image",
            todo="name one, or remove fragments.foreground",
        )
    elif getattr(first[0], "foreground", None) is None:
        raise BadInput(
            "fragments.foreground",
            "the network predicts no foreground",
            got="a channel for each offset",
            wanted="one channel more",
            todo="name a volume, or use fragments.background",
        )
    else:
        volume = Volume(path=settings.output / NAME)
    given = wanted.volume is not None
    return {
        **fields,
        "foreground": volume,
        "foreground_given": given,
        "foreground_threshold": wanted.threshold,
    }
