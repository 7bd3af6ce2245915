"""STUDY.yaml: what is read, and what is refused in one line."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from blockwise.errors import BadInput
from contraband.experiments.study.rows import wanted_rows
from contraband.experiments.study.settings import StudySettings, load_study
from contraband.experiments.study.study import Study
from tests.support.paths import ROOT

PLAIN: dict[str, Any] = {
    "output": "out/study",
    "report": "report",
    "params": "param_dict.json",
    "data": {"discs": {"file": "discs.npz"}},
    "arms": {
        "none": {"method": "none"},
        "Otsu": {"method": "otsu"},
        "forest": {"method": "quick", "features": "gaussian", "head": "forest"},
        "end to end": {"method": "network"},
    },
    "rounds": {"main": {"data": ["discs"], "budgets": [6, 12], "draws": [0, 1, 2], "seeds": [0, 1]}},
    "claims": [{"arm": "end to end", "above": "Otsu", "on": "discs", "at": [6, 12], "score": "f1"}],
}


def plain(**changes: Any) -> dict[str, Any]:
    """A whole study as plain data; a name like `claims__0__arm` is a place in it."""
    data = copy.deepcopy(PLAIN)
    for place, value in changes.items():
        *parents, last = (int(name) if name.isdigit() else name.replace("_space_", " ") for name in place.split("__"))
        target: Any = data
        for name in parents:
            target = target[name]
        target[last] = value
    return data


def test_a_whole_study_is_read():
    """Arms of a round are those it names, or all."""
    settings = StudySettings.parse(plain(), "study")
    assert settings.arms_of("main") == ("none", "Otsu", "forest", "end to end")
    some = StudySettings.parse(plain(rounds__main__arms=["Otsu", "end to end"]), "study")
    assert some.arms_of("main") == ("Otsu", "end to end")


@pytest.mark.parametrize(
    ("place", "value", "fault"),
    [
        ("claims__0__arm", "end-to-end", "there is no 'end-to-end'; did you mean end to end?"),
        ("claims__0__above", "chance", "there is no 'chance'; there is: none, Otsu"),
        ("claims__0__on", "cells", "there is no 'cells'"),
        ("claims__0__at", [6, 64], "round main has no budget 64"),
        ("claims__0__score", "voi", "there is no 'voi'"),
        ("claims__0__score", "accuracy", "claims"),
        ("claims__0__round", "last", "there is no 'last'"),
        ("rounds__main__data", ["cells"], "there is no 'cells'"),
        ("rounds__main__arms", ["forrest"], "did you mean forest"),
        ("rounds__main__arms", ["forest", "Otsu"], "there is no 'end to end'"),
        ("rounds__main__draws", [], "at least 1"),
        ("rounds__main__draws", [1, 1], "twice"),
        ("rounds__again", {"data": ["discs"], "budgets": [6], "draws": [2, 3]}, "draw 2 of discs is in round main too"),
        ("data__discs__shares", {"train": 0.9, "validate": 0.2}, "leave something"),
        ("data__discs__divided", "ranges", "ranges must be given"),
        ("arms__forest__heads", "forest", "unknown key"),
        ("arms__forest", {"method": "session"}, "user is missing"),
        ("rounds__main__budgets", [6, "all"], "'forest' is a quick head"),
        ("rounds__main__budgets", [6, "most"], "budgets"),
        (
            "rounds__main",
            {"data": ["discs"], "budgets": ["all"], "draws": [0], "labels": "patches"},
            "all are all points",
        ),
        ("claims__0__at", ["all"], "round main has no budget all"),
        ("data__discs__dims", 3, "give ranges, each with the step 1"),
        ("arms__Otsu", {"method": "otsu", "user": "mends"}, "method otsu uses none"),
        ("arms__forest", {"method": "session", "user": "mends"}, "the user of 'forest' clicks in rounds with"),
    ],
)
def test_what_cannot_work_is_refused(place, value, fault):
    """Each fault is one line that names the key."""
    with pytest.raises(BadInput, match=fault.replace("?", r"\?")) as error:
        StudySettings.parse(plain(**{place: value}), "study.yaml")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("study.yaml")


def test_a_quick_head_on_embeddings_sees_sections_only():
    """In 3D such an arm is refused, and so are patches, which are squares."""
    ranges = {"train": [0, 4, 1], "validate": [4, 6, 1], "test": [6, 8, 1]}
    deep = {"file": "discs.npz", "dims": 3, "divided": "ranges", "ranges": ranges}
    with pytest.raises(BadInput, match="'forest' has a quick head on embeddings"):
        StudySettings.parse(plain(data__discs=deep, arms__forest={"method": "quick"}), "study")
    with pytest.raises(BadInput, match="patches are squares"):
        StudySettings.parse(plain(data__discs=deep, rounds__main__labels="patches"), "study")
    assert StudySettings.parse(plain(data__discs=deep), "study").data["discs"].dims == 3


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "experiments").glob("*/*.yaml")))
def test_shipped_studies_load(name, monkeypatch):
    """Every study in experiments/ is accepted as it is, and so are the trainings of each of its arms."""
    monkeypatch.chdir(ROOT)
    (path,) = (ROOT / "experiments").glob(f"*/{name}")
    study = Study(load_study(path))
    rows = wanted_rows(study.settings)
    for arm in study.settings.arms:
        study.check_params(next(row for row in rows if row.arm == arm))
