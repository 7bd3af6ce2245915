"""`STUDY.yaml`: data and how they are divided, arms, rounds of draws and seeds, and what is claimed beforehand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from blockwise.cluster.settings import Cluster
from blockwise.fields import Count, Place, Positive
from blockwise.settings import Settings, likely, read_yaml
from contraband.experiments.study.data_settings import StudyData

SCORES = {"f1": 1, "ap": 1, "voi": -1}
"""Every score, and whether more of it is better (1) or less (-1)."""

OF_KIND: dict[str, tuple[str, ...]] = {"nuclei": ("f1", "ap"), "membranes": ("ap", "voi")}
"""Scores of each kind of data, the first one being what a step is chosen by."""

Score = Literal["f1", "ap", "voi"]
Numbers = Annotated[tuple[Count, ...], Field(min_length=1)]
Budget = PositiveInt | Literal["all"]
UserName = Literal["mends", "spreads", "follows"]


class Arm(Settings):
    """One way of getting from labels to a prediction."""

    method: Literal["none", "otsu", "quick", "network", "session"]
    """`none` and `otsu` use no label; `quick` fits a head to features; `network` trains all weights; `session` is
    `contraband label`, with the head that it has after the clicks."""

    features: Literal["embeddings", "gaussian"] = "embeddings"
    """What a quick head stands on."""

    head: Literal["logistic", "forest"] = "logistic"
    """The quick head, also of the session in which a user clicks."""

    user: UserName | None = None
    """Who clicks, in a round of clicks: `mends` the middle of the largest error of a section, `spreads` anywhere, the
    true classes equally often, `follows` where `n` jumps to; left out: points are drawn."""

    start: Literal["nothing", "contrastive"] = "nothing"
    """The encoder that a network begins with, or whose embeddings a quick head stands on."""

    params: Place | None = None
    """The arm's own param_dict.json; left out: that of the study."""

    seg: Mapping[str, Any] = Field(default_factory=dict)
    """Keys of its section `seg` that this arm has otherwise; null leaves the key out."""

    @property
    def is_labelled(self) -> bool:
        """Whether it uses labels at all."""
        return self.method not in ("none", "otsu")

    @property
    def is_flat(self) -> bool:
        """Whether it sees sections only."""
        return self.method == "quick" and self.features == "embeddings"

    @model_validator(mode="after")
    def _user_has_labels(self) -> Self:
        if self.method == "session" and self.user is None:
            raise ValueError("user is missing; say who clicks in the session")
        if self.user is not None and not self.is_labelled:
            raise ValueError(f"user clicks labels, and method {self.method} uses none; leave it out")
        return self


class Round(Settings):
    """Which rows there are: every arm on every data set at every budget, for every draw and seed."""

    data: Annotated[tuple[str, ...], Field(min_length=1)]
    """Data sets, by name."""

    budgets: Annotated[tuple[Budget, ...], Field(min_length=1)]
    """How many labels there are; of points also `all`, every pixel of the training images; draws are seeds then."""

    labels: Literal["points", "patches", "clicks"] = "points"
    """What a budget counts: pixels, drawn evenly over the classes; squares in which every pixel is labelled; or clicks
    of the users of its arms in a few images, where points are drawn for arms without one."""

    patch: Positive = 96
    """Side of a square in pixels."""

    images: Positive = 6
    """Of clicks: in so many training images, others for each draw."""

    draws: Numbers
    """Numbers of draws of points; another round should have others."""

    seeds: Numbers = (0,)
    """Seeds of weights, batches and encoders; a draw's score is the mean over them."""

    arms: tuple[str, ...] = ()
    """Arms, by name; left out: all."""

    @model_validator(mode="after")
    def _once(self) -> Self:
        for name in ("data", "budgets", "draws", "seeds", "arms"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} lists a value twice")
        if "all" in self.budgets and self.labels != "points":
            raise ValueError(f"budgets: all are all points, and not {self.labels}")
        return self


class Claim(Settings):
    """What is said before the study runs."""

    arm: str
    """The arm that shall be better."""

    above: str
    """The arm that it shall be better than."""

    on: str
    """The data set."""

    at: Annotated[tuple[Budget, ...], Field(min_length=1)]
    """Budgets; the claim holds if it holds at each."""

    score: Score
    """By what it is better; of VOI less is better."""

    by: float = 0.0
    """By more than this."""

    round: str = "main"
    """The round whose draws decide."""


class Folds(Settings):
    """How an arm's step is chosen from the given labels alone, as a user could."""

    count: Annotated[int, Field(ge=2)] = 3
    """The labels are parted into so many; each is left out once."""

    per: Literal["row", "draw"] = "draw"
    """`draw`: chosen with the first seed of a draw and used for all its seeds, which costs less."""


class StudySettings(Settings):
    """A study: data sets, arms, rounds of rows, and claims that stand before it runs."""

    question: str = ""
    """What it shall answer, for the report."""

    output: Place
    """Folder of everything it makes: data, encoders, trainings, rows, predictions."""

    report: Place
    """Folder of the report with its figures and tables."""

    params: Place
    """A param_dict.json with one model, one contrastive and one seg section; data files, points and seeds are those of
    the rows."""

    data: Annotated[Mapping[str, StudyData], Field(min_length=1)]
    """Data sets: a name, and a section for each."""

    arms: Annotated[Mapping[str, Arm], Field(min_length=1)]
    """Every arm that was tried: a name, and a section for each."""

    rounds: Annotated[Mapping[str, Round], Field(min_length=1)]
    """Rounds: a name, and a section for each; one on which nothing was chosen has the last word."""

    claims: tuple[Claim, ...] = ()
    """Decided by the test data, after correcting for their number."""

    reference: str | None = None
    """The arm that all others are compared with, draw by draw; left out: the last of a round that learns."""

    tried_elsewhere: tuple[str, ...] = ()
    """Arms that were tried before this study, for the report."""

    folds: Folds = Folds()

    cluster: Cluster = Cluster(kind="none")
    """Where rows are computed; several at once on its workers."""

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        learning = [name for name, arm in self.arms.items() if arm.is_labelled]
        _known("reference", (self.reference,) if self.reference else (), tuple(learning))
        for name, one in self.rounds.items():
            _known(f"rounds.{name}.data", one.data, self.data)
            _known(f"rounds.{name}.arms", one.arms, self.arms)
            _known("reference", (self.reference,) if self.reference else (), self.arms_of(name))
            if not any(self.arms[arm].is_labelled for arm in self.arms_of(name)):
                raise ValueError(f"rounds.{name}: no arm learns from labels")
            deep = [data for data in one.data if self.data[data].dims == 3]
            flat = [arm for arm in self.arms_of(name) if self.arms[arm].is_flat]
            if deep and (flat or one.labels == "patches"):
                what = f"{flat[0]!r} has a quick head on embeddings" if flat else "patches are squares"
                raise ValueError(f"rounds.{name}: {what}, and {deep[0]} is seen in 3D; leave out one of them")
            users = [arm for arm in self.arms_of(name) if self.arms[arm].user]
            quick = [arm for arm in self.arms_of(name) if self.arms[arm].method == "quick"]
            if quick and "all" in one.budgets:
                raise ValueError(f"rounds.{name}: {quick[0]!r} is a quick head, for a few labels; all are too many")
            if users and one.labels != "clicks":
                raise ValueError(f"rounds.{name}: the user of {users[0]!r} clicks in rounds with `labels: clicks` only")
        for number, claim in enumerate(self.claims):
            where = f"claims.{number}"
            _known(f"{where}.round", (claim.round,), self.rounds)
            _known(f"{where}.on", (claim.on,), self.rounds[claim.round].data)
            _known(f"{where}.arm", (claim.arm,), self.arms_of(claim.round))
            _known(f"{where}.above", (claim.above,), self.arms_of(claim.round))
            _known(f"{where}.score", (claim.score,), OF_KIND[self.data[claim.on].kind])
            missing = set(claim.at) - set(self.rounds[claim.round].budgets)
            if missing:
                raise ValueError(f"{where}.at: round {claim.round} has no budget {min(missing, key=str)}")
        return self

    @model_validator(mode="after")
    def _rounds_are_apart(self) -> Self:
        seen: dict[tuple[str, int], str] = {}
        for name, one in self.rounds.items():
            for data, draw in itertools.product(one.data, one.draws):
                other = seen.setdefault((data, draw), name)
                if other != name:
                    raise ValueError(f"rounds.{name}: draw {draw} of {data} is in round {other} too; give it others")
        return self

    def arms_of(self, name: str) -> tuple[str, ...]:
        """The arms of a round."""
        return self.rounds[name].arms or tuple(self.arms)

    def reference_of(self, name: str) -> str:
        """The arm that the others of a round are compared with."""
        return self.reference or [arm for arm in self.arms_of(name) if self.arms[arm].is_labelled][-1]


def size_of(budget: Budget) -> float:
    """A number by which budgets are put in order: all labels are more than any number of them."""
    return math.inf if budget == "all" else budget


def _known(where: str, names: tuple[str, ...], known: Mapping[str, Any] | tuple[str, ...]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        todo = likely(unknown[0], known) or f"there is: {', '.join(known)}"
        raise ValueError(f"{where}: there is no {unknown[0]!r}; {todo}")


def load_study(path: Path) -> StudySettings:
    """The settings in a STUDY.yaml; BadInput names the file and the key of the first fault."""
    data = read_yaml(path)
    if isinstance(claims := data.get("claims"), list):
        data["claims"] = [_with_on(claim) if isinstance(claim, dict) else claim for claim in claims]
    return StudySettings.parse(data, path)


def _with_on(claim: dict[Any, Any]) -> dict[Any, Any]:
    """A claim with its key `on`, which YAML takes for true unless it is in quotes."""
    return {"on" if key is True else key: value for key, value in claim.items()}
