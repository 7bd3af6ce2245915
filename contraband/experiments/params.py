"""`param_dict.json`: the grid of an experiment, read into strict settings.

First level: every contrastive option with every model. Second level: every seg option. A section lists the options of
each key; a bare number, text or mapping counts as one option.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PositiveInt, ValidationError, model_validator

from blockwise.errors import BadInput
from blockwise.fields import PlaceText
from blockwise.settings import Settings, explain, likely, read_yaml
from contraband.experiments.migration import migrated
from contraband.models.settings import ModelSettings
from contraband.training.settings import ContrastiveSettings, SegSettings, TrainSettings

Pipeline = Literal["standard", "sparse_sh", "baseline_sparse_sh"]

_NOT_IN_HASH = {
    "num_iterations",
    "schedule_steps",
    "save_every",
    "snapshot_every",
    "keep_checkpoints",
    "max_seconds",
    "workers",
    "log_every",
    "thresholds",
    "compile",
    "loader_timeout_s",
}


class SaveEmbs(Settings):
    """What `emb` writes embeddings of."""

    datasets: tuple[str, ...] = Field(min_length=1)
    """Raw datasets inside each data file."""

    data_file: tuple[PlaceText, ...] = Field(min_length=1)
    """Zarr containers."""

    levels: PositiveInt = 1
    """Decoder levels that are stored, the finest first, all on the voxels of raw; heads of as many levels read them."""


class Combination(Settings):
    """One point of the first grid."""

    index: int
    """Number of its folder, `combination-<index>`."""

    model: ModelSettings
    contrastive: ContrastiveSettings | None
    """None where the experiment trains baselines only."""


class Params(Settings):
    """Everything in a `param_dict.json`, its grids expanded."""

    pipeline: Pipeline = "standard"
    """How segmentation heads are trained: on patches, on embeddings at points, end to end at points (with `baseline`
    false the last begins with the contrastive encoder)."""

    save_embs: SaveEmbs | None = None
    model: tuple[ModelSettings, ...] = Field(min_length=1)
    contrastive: tuple[ContrastiveSettings, ...] = ()
    seg: tuple[SegSettings, ...] = ()

    @property
    def combinations(self) -> tuple[Combination, ...]:
        """The first level: contrastive options in order, and within each the models in order."""
        contrastive: tuple[ContrastiveSettings | None, ...] = self.contrastive or (None,)
        pairs = itertools.product(contrastive, self.model)
        return tuple(
            Combination(index=index, model=model, contrastive=option) for index, (option, model) in enumerate(pairs)
        )

    def combination(self, index: int) -> Combination:
        """One point of the first level; BadInput if there is no such point."""
        combinations = self.combinations
        if not 0 <= index < len(combinations):
            raise BadInput("--index", "no such combination", got=index, wanted=f"0 to {len(combinations) - 1}")
        return combinations[index]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for option, model in itertools.product(self.contrastive, self.model):
            option.check_model(model)
        for model in self.model:
            model.check_levels(1 if self.save_embs is None else self.save_embs.levels)
        for settings in self.seg:
            for model in self.model:
                settings.check_model(model)
            if self.pipeline == "standard" and settings.dataset.train.gt is None:
                raise ValueError("the pipeline standard needs labels, dataset.train.gt; for points: baseline_sparse_sh")
            if self.pipeline == "sparse_sh" and settings.baseline:
                raise ValueError("the pipeline sparse_sh needs embeddings; use baseline_sparse_sh for a baseline")
            if self.pipeline == "sparse_sh" and settings.joint is not None:
                raise ValueError("joint trains an encoder on raw, and the pipeline sparse_sh reads stored embeddings")
        return self


def load_params(path: Path) -> Params:
    """The settings in a `param_dict.json`; BadInput names the file and the key of the first fault."""
    # JSON with comments is YAML but for its tabs, which JSON has between values only.
    return parse_params(read_yaml(path, tabs_are_spaces=True), path)


def parse_params(data: Mapping[str, Any], where: object) -> Params:
    """The settings in an already read `param_dict.json`."""
    data = migrated(data, where)
    unknown = sorted(set(data) - set(Params.model_fields))
    if unknown:
        raise _unknown(f"{where}: {unknown[0]}", unknown[0], Params)
    if "model" not in data:
        raise BadInput(f"{where}: model", "missing key", todo="add it")
    models = data["model"] if isinstance(data["model"], list) else [data["model"]]
    embs = data.get("save_embs")
    try:
        return Params(
            pipeline=data.get("pipeline", "standard"),
            save_embs=None if embs is None else _parse(SaveEmbs, embs, f"{where}: save_embs"),
            model=tuple(_parse(ModelSettings, model, f"{where}: model.{i}") for i, model in enumerate(models)),
            contrastive=_section(ContrastiveSettings, data.get("contrastive"), f"{where}: contrastive"),
            seg=_section(SegSettings, data.get("seg"), f"{where}: seg"),
        )
    except ValidationError as error:
        raise explain(error, where) from None


def settings_hash(*settings: Settings | None) -> str:
    """The first 16 hex digits of a SHA-256 over all settings that change what is learnt."""
    plain = [None if one is None else _hashed(one) for one in settings]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def named_settings(**sections: Settings | None) -> dict[str, Any]:
    """Settings that change what is learnt, defaults included, by `section.key`: what a changed training is told by."""
    found: dict[str, Any] = {}
    for section, settings in sections.items():
        if settings is not None:
            plain = settings.model_dump(mode="json", exclude=_NOT_IN_HASH) | _schedule(settings)
            found |= {f"{section}.{key}": value for key, value in plain.items()}
    return found


def _hashed(settings: Settings) -> dict[str, Any]:
    # without defaults, so that a setting that is new one day does not separate a training from its checkpoints
    plain = settings.model_dump(mode="json", exclude=_NOT_IN_HASH, exclude_defaults=True) | _schedule(settings)
    if isinstance(settings, SegSettings):
        plain["dataset"] = settings.dataset.train.model_dump(mode="json")
        if settings.points is not None and len(settings.points) == 1:
            plain["points"] = settings.points[0]  # as it was written before there could be several
    return plain


def _schedule(settings: Settings) -> dict[str, Any]:
    """The length of a training, where its steps depend on it: then a longer one is another."""
    if isinstance(settings, TrainSettings) and settings.changes_over_time:
        return {"schedule_steps": settings.planned_steps}
    return {}


def _section[Kind: TrainSettings](kind: type[Kind], section: object, where: str) -> tuple[Kind, ...]:
    """All combinations of one section; the last field of the class varies fastest."""
    if section is None:
        return ()
    if not isinstance(section, dict):
        raise BadInput(where, "is not a mapping of keys to values", got=type(section).__name__)
    options = {key: _options(value, f"{where}.{key}") for key, value in section.items()}
    for key in options:
        if key not in kind.model_fields:
            raise _unknown(f"{where}.{key}", key, kind)
    if len(options.get("thresholds", [])) > 1 and not all(isinstance(one, list) for one in options["thresholds"]):
        wanted = [options["thresholds"]]
        raise BadInput(f"{where}.thresholds", "lists options, each a list", got=options["thresholds"], wanted=wanted)
    keys = [key for key in kind.model_fields if key in options]  # the order in the file must not matter
    grid = itertools.product(*(options[key] for key in keys))
    return tuple(_parse(kind, dict(zip(keys, values, strict=True)), where) for values in grid)


def _unknown(where: str, key: str, kind: type[Settings]) -> BadInput:
    todo = likely(key, kind.model_fields) or "remove it or correct its spelling"
    return BadInput(where, "unknown key", todo=todo)


def _parse[Kind: Settings](kind: type[Kind], data: object, where: str) -> Kind:
    if not isinstance(data, dict):
        raise BadInput(where, "is not a mapping of keys to values", got=type(data).__name__)
    return kind.parse(data, where)


def _options(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        return [value]
    if not value:
        raise BadInput(where, "lists no option", got="[]", wanted="at least one")
    return value
