"""What merges follow is read once: a statistic by its name, and where merging stops."""

from __future__ import annotations

import copy

import pytest

from blockwise.errors import BadInput
from blockwise.kernels.graph.rules import OF_WATERZ, STATISTICS, MergeRules, Statistic


def test_a_statistic_knows_its_quantile_and_who_merges() -> None:
    """The mean needs no histogram, nor does what waterz merges."""
    for name, percent in {"mean": 0, "max": 100, "quantile_45": 45, "waterz:hist_quant_45": 0}.items():
        found = MergeRules.parse({"statistic": name}, "test").statistic
        assert isinstance(found, Statistic)
        assert (found, found.percent) == (name, percent)
        assert found.of_waterz == name.partition(":")[2]
        assert copy.deepcopy(found).percent == percent  # as workers get it


def test_every_statistic_that_is_offered_can_be_had() -> None:
    """By its name, and written as it is read."""
    for name in (*STATISTICS, *(f"waterz:{one}" for one in OF_WATERZ)):
        rules = MergeRules.parse({"statistic": name, "stop": 0}, "test")
        assert rules.model_dump(mode="json") == {"statistic": name, "stop": 0.0}
        assert rules == MergeRules(statistic=Statistic(name), stop=0)


@pytest.mark.parametrize("name", ["median", "quantile_33", "quantile_", "Mean", "", "hist_quant_50", "wat\nerz:mean"])
def test_an_unknown_statistic_is_refused_with_those_there_are(name: str) -> None:
    """One line says which key, what is wrong, and what is offered."""
    with pytest.raises(
        BadInput, match=r"test: statistic: no such statistic, only mean, max, or quantile_<q> with q one"
    ):
        MergeRules.parse({"statistic": name}, "test")


@pytest.mark.parametrize("name", ["max", "hist_quant_33", "", "mean_affinity", "../x"])
def test_what_waterz_would_have_to_compile_is_refused(name: str) -> None:
    """Compiling takes a compiler and boost at run time, and the name would be code."""
    with pytest.raises(BadInput, match=r"test: statistic: not among those waterz ships compiled: mean, hist_quant_<q>"):
        MergeRules.parse({"statistic": f"waterz:{name}"}, "test")


@pytest.mark.parametrize(
    "rules", [{"statistic": 7}, {"statistic": None}, {"stop": -0.1}, {"stop": 1.1}, {"stop": True}]
)
def test_rules_of_another_type_or_out_of_range_are_named(rules: dict[str, object]) -> None:
    """The line names the key."""
    with pytest.raises(BadInput, match=f"test: {next(iter(rules))}: "):
        MergeRules.parse(rules, "test")
