"""What merges follow: the statistic that tells what an edge is worth, where they stop, and what is too small."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from blockwise.fields import Count, Fraction
from blockwise.settings import Settings

QUANTILES = (10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 90, 95)
"""Those that waterz 0.10 ships compiled, others need a compiler and boost at run time; ours are the same ones."""

MAXIMUM = 100
STATISTICS = {"mean": 0, "max": MAXIMUM, **{f"quantile_{percent}": percent for percent in QUANTILES}}
"""Each with its `percent`; all of them merge in the same order however the graph is cut up."""

WATERZ = "waterz:"
OF_WATERZ = ("mean", *(f"hist_quant_{percent}{ending}" for percent in QUANTILES for ending in ("", "_initmax")))
"""What waterz can score by without a compiler, see `reference`."""


class Statistic(str):
    """What an edge between clusters is worth, by its name in the settings; raises ValueError for any other name."""

    def __new__(cls, name: str) -> Self:
        numbers = ", ".join(map(str, QUANTILES))
        if name.startswith(WATERZ) and name.removeprefix(WATERZ) not in OF_WATERZ:
            wanted = f"mean, hist_quant_<q> or hist_quant_<q>_initmax with q one of {numbers}"
            raise ValueError(f"not among those waterz ships compiled: {wanted}")
        if not name.startswith(WATERZ) and name not in STATISTICS:
            wanted = f"mean, max, or quantile_<q> with q one of {numbers}; or waterz:<name> in one block"
            raise ValueError(f"no such statistic, only {wanted}")
        return super().__new__(cls, name)

    @property
    def percent(self) -> int:
        """The quantile, 100 for the maximum; 0 where no histogram is needed: for the mean, and if waterz merges."""
        return STATISTICS.get(self, 0)

    @property
    def of_waterz(self) -> str:
        """What waterz calls it, if waterz is to merge; else empty."""
        return self.removeprefix(WATERZ) if self.startswith(WATERZ) else ""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """How settings read it: a text that is made one of these."""
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())


class MergeRules(Settings):
    """Which clusters are merged, and in which order."""

    statistic: Statistic = Statistic("mean")
    """What an edge between clusters is worth: mean, max or quantile_<q> of its affinities; or waterz:<name>, merged by
    waterz itself, on a volume in one block."""
    stop: Fraction = 0.0
    """Edges worth at most this are not merged; no threshold may lie below it. 0 hides no threshold and costs little."""


class SmallRules(Settings):
    """What becomes of segments that are too small to be objects."""

    min_voxels: Count = 0
    """Segments with fewer voxels join, at every threshold below 1, the cluster that they would merge with at a lower
    one, where the mean affinity between two fragments is largest (of equal ones, smallest numbers). 0: none do."""
    isolated: Literal["background", "keep"] = "background"
    """What becomes of segments with fewer voxels that would not merge with anything, down to `agglomerate.stop`."""
