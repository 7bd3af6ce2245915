"""The thresholds that are tried, which of them is best, and whether it lies at an end: a better one may lie beyond."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

End = Literal["low", "high", "both"]


def best_row(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The row with the smallest VOI sum; without labels, that with the longest expected run length."""
    if rows[0]["voi_sum"] is not None:
        return min(rows, key=lambda row: float(row["voi_sum"]))
    return max(rows, key=lambda row: float(row.get("erl") or 0))


def best_at_end(rows: Sequence[dict[str, Any]]) -> End | None:
    """At which end of the thresholds tried the best lies, "both" if only one was; None inside, or if it is perfect.

    rows: ascending thresholds, as in evaluation.json.
    """
    best = best_row(rows)
    is_perfect = best["voi_sum"] == 0 or (best["voi_sum"] is None and best.get("erl_fraction") == 1)
    is_unknown = best["voi_sum"] is None and not best.get("erl")
    at_low = best["threshold"] == rows[0]["threshold"]
    at_high = best["threshold"] == rows[-1]["threshold"]
    if is_perfect or is_unknown or not (at_low or at_high):
        return None
    if at_low and at_high:
        return "both"
    return "low" if at_low else "high"


def _mute(rows: Sequence[dict[str, Any]]) -> str | None:
    """Why the rows tell nothing of thresholds, if so."""
    best = best_row(rows)
    if best["voi_sum"] is None and best.get("erl") is None:
        return "nothing was scored: where the volume is, the labels hold no object, or the skeletons no path"
    if best["voi_sum"] is not None and best.get("truth_objects") == 1:
        return "the labels hold one object only: whatever merges it is perfect, so they tell no best threshold"
    scores = {(row["voi_sum"], row.get("erl")) for row in rows}
    if best["voi_sum"] is not None and len(rows) > 1 and len(scores) == 1:
        return f"all {len(rows)} thresholds score alike: there is no best one"
    return None


def advice(rows: Sequence[dict[str, Any]], stop: float) -> str | None:
    """One line for a truth that tells nothing of thresholds, or a best one at an end of those tried, and how to go on.

    None if the best lies inside. stop: agglomerate.stop, below which there are no thresholds.
    """
    mute = _mute(rows)
    if mute is not None:
        return mute
    end = best_at_end(rows)
    if end is None:
        return None
    best = float(best_row(rows)["threshold"])
    if end != "high" and best <= 0:
        what = "the lowest there is: whatever touches is merged; the affinities are too low, or the truth is in part"
    elif end != "low" and best >= 1:
        what = "the highest there is: nothing is merged; lower fragments.cap, or the affinities are too high"
    else:
        place = {"low": "the lowest", "high": "the highest", "both": "the only one"}[end]
        where = {"low": "below it", "high": "above it", "both": "on either side"}[end]
        steps = ["leave evaluate.thresholds out, so that all are tried"]
        if end != "high" and best <= stop:
            steps.insert(0, f"set agglomerate.stop below {stop:g}")
        redo = "agglomerate" if len(steps) > 1 else "evaluate"
        todo = f"{' and '.join(steps)}, then `contraband run --redo {redo}`"
        what = f"{place} that was tried, and a better one may lie {where}; {todo}"
    return f"the best threshold, {best:g}, is {what}"


def sweep_thresholds(stop: float, wanted: Sequence[float]) -> tuple[float, ...]:
    """All hundredths from `stop` to 1 and the wanted thresholds, sorted."""
    steps = (round(step / 100, 2) for step in range(101))
    return tuple(sorted({*(step for step in steps if step >= stop), *wanted}))
