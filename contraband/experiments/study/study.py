"""An opened study: its data, the settings of each row's trainings, and every path under its output."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blockwise.errors import BadInput
from blockwise.settings import read_yaml
from contraband.experiments.params import Params, parse_params
from contraband.experiments.study.data import LABELS, RAW, DataSet, load_data
from contraband.experiments.study.draws import draw_patches, draw_points
from contraband.experiments.study.rows import FIELDS, TEST_FIELDS, Row, RowFile
from contraband.experiments.study.settings import Arm, StudySettings
from contraband.samples.points import Points

BUSY = "is being written by another process"


@dataclass(frozen=True)
class Study:
    """Settings, and what follows from them. Data are read when they are first asked for."""

    settings: StudySettings
    _data: dict[str, DataSet] = field(default_factory=dict)

    def data(self, name: str) -> DataSet:
        """A data set."""
        if name not in self._data:
            self._data[name] = load_data(name, self.settings.data[name])
        return self._data[name]

    def arm(self, row: Row) -> Arm:
        """The arm of a row."""
        return self.settings.arms[row.arm]

    def labels(self, row: Row) -> Points:
        """The labelled points of a row: the same for all its arms and seeds."""
        classes = self.data(row.data).train_classes
        one = self.settings.rounds[row.round]
        if one.labels == "patches":
            return draw_patches(classes, row.k, one.patch, row.draw, f"data.{row.data}")
        return draw_points(classes, row.k, row.draw, f"data.{row.data}")

    def container(self, name: str) -> Path:
        """A zarr container with the raw of a data set's training images."""
        return self.data(name).container(self.output / "data")

    def params(self, row: Row, labelled: str, images: str) -> Params:
        """The trainings of a row, from the container of its labels and that of its data set's images."""
        return parse_params(self.plain_params(row, labelled, images), self.params_file(self.arm(row)))

    def check_params(self, row: Row) -> None:
        """Raise BadInput if the trainings of a row cannot be what its arm says; nothing is written."""
        found = self.params(row, "labelled.zarr", "images.zarr")
        for name in ("model", "contrastive", "seg"):
            if len(getattr(found, name)) > 1:
                where = f"{self.params_file(self.arm(row))}: {name}"
                raise BadInput(where, "is a grid", got=len(getattr(found, name)), wanted="one option of each key")

    def plain_params(self, row: Row, labelled: str, images: str) -> dict[str, Any]:
        """The same in the words of a param_dict.json; a network learns classes where the labels say some."""
        arm = self.arm(row)
        where = self.params_file(arm)
        plain = read_yaml(where, tabs_are_spaces=True)
        for name in ("model", "seg", *(["contrastive"] if arm.start == "contrastive" else [])):
            if name not in plain:
                raise BadInput(where, f"has no section {name}", todo="add it")
        seg = {key: value for key, value in ({**plain["seg"]} | dict(arm.seg)).items() if value is not None}
        train = {"train": {"raw": RAW, "gt": LABELS}}
        seg |= {"data_file": [labelled], "dataset": [train], "seed": [row.seed], "sparse_target": ["classes"]}
        seg["baseline"] = [arm.start == "nothing"]
        result = {"pipeline": "standard", "model": plain["model"], "seg": seg}
        if arm.start == "contrastive":
            result["contrastive"] = plain["contrastive"] | {"data_file": [images], "dataset": RAW, "seed": [row.seed]}
        return result

    def params_file(self, arm: Arm) -> Path:
        """The param_dict.json of an arm."""
        return arm.params or self.settings.params

    def fingerprint(self, row: Row) -> str:
        """Changes with everything that a row's scores depend on, but for versions of programs."""
        data = self.settings.data[row.data].model_dump(mode="json", exclude={"file"})
        plain: list[Any] = [data, self.arm(row).model_dump(mode="json", exclude={"params"})]
        if self.arm(row).is_labelled:
            plain += [self.plain_params(row, "", ""), self.settings.folds.model_dump(mode="json")]
            one = self.settings.rounds[row.round]
            plain += [one.patch] if one.labels == "patches" else []
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def output(self) -> Path:
        """Where everything lies."""
        return self.settings.output

    @property
    def rows(self) -> RowFile:
        """Scores on the validation part, and steps and seconds."""
        return RowFile(self.output / "rows.csv", FIELDS)

    @property
    def tests(self) -> RowFile:
        """Scores on the test part."""
        return RowFile(self.output / "test.csv", TEST_FIELDS)

    @property
    def readings(self) -> Path:
        """When the test part was read, and how many rows were there."""
        return self.output / "readings.json"

    @property
    def claimed(self) -> Path:
        """What the claims were when the first row was run."""
        return self.output / "claims.json"

    def kept(self, row: Row, column: str) -> Path:
        """The checkpoint of a row at the step of a column of scores."""
        return self.output / "kept" / f"{row.name}{column}"

    def training(self, row: Row, name: str) -> Path:
        """Where a training of a row is while it lasts."""
        return self.output / "trainings" / row.name / name

    def folds(self, row: Row) -> Path:
        """The step that folds of the labels have chosen, for the row or for its draw."""
        seed = f"seed{row.seed}" if self.settings.folds.per == "row" else "all"
        return self.output / "folds" / f"{row.name.removesuffix(f'seed{row.seed}')}{seed}.json"

    def encoder(self, row: Row, settings: Mapping[str, Any]) -> Path:
        """Where the contrastive encoder lies that rows with these settings share."""
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
        return self.output / "encoders" / f"{row.data}-{digest}-seed{row.seed}"
