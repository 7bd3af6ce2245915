"""The agglomeration of waterz on a volume in one piece, to compare with; not exact across blocks."""

from __future__ import annotations

import numpy as np

from blockwise.kernels.graph.agglomeration import Dendrogram
from blockwise.kernels.graph.rules import QUANTILES, MergeRules


def scoring_functions() -> dict[str, str]:
    """The C++ scoring function of waterz for each name that needs no compiler.

    `mean`; `hist_quant_<q>`, the quantile of all affinities between two fragments in 256 bins; and
    `hist_quant_<q>_initmax`, which starts from the largest affinity of each edge instead.
    """
    functions = {"mean": "OneMinus<MeanAffinity<RegionGraphType, ScoreValue>>"}
    for quantile in QUANTILES:
        for ending, initial in (("", "false"), ("_initmax", "true")):
            provider = f"HistogramQuantileAffinity<RegionGraphType, {quantile}, ScoreValue, 256, {initial}>"
            functions[f"hist_quant_{quantile}{ending}"] = f"OneMinus<{provider}>"
    return functions


def waterz_dendrogram(
    affinities: np.ndarray, fragments: np.ndarray, rules: MergeRules, nodes: np.ndarray
) -> Dendrogram:
    """All merges of waterz that score above the stop, as a dendrogram of the fragments `nodes` (sorted uint64).

    affinities: (3, z, y, x) float32 in [0, 1]. fragments: (z, y, x) uint64. Scores are float32 numbers; where rounding
    makes one rise, it is set to the one before it, so that a threshold takes the merges up to a point in their order.
    """
    import waterz

    function = scoring_functions()[rules.statistic.of_waterz]
    row = np.searchsorted(nodes, fragments)
    dense = np.where(fragments == 0, 0, row + 1).astype(np.uint64)
    ((_, history),) = waterz.agglomerate(
        np.ascontiguousarray(affinities, np.float32),
        thresholds=[1.0 - rules.stop],
        fragments=dense,
        scoring_function=function,
        return_merge_history=True,
    )
    parent, score = nodes.copy(), np.zeros(len(nodes))
    smallest, last = np.arange(-1, len(nodes)), 1.0
    for merge in history:
        rows = sorted((int(smallest[merge["a"]]), int(smallest[merge["b"]])))
        last = min(last, 1.0 - merge["score"])
        parent[rows[1]] = nodes[rows[0]]
        score[rows[1]] = last
        smallest[merge["c"]] = rows[0]
    return Dendrogram(nodes, parent, score)
