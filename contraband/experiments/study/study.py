"""An opened study: its data, the settings of each row's trainings, and every path under its output."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blockwise.errors import BadInput
from blockwise.settings import read_yaml
from contraband.experiments.params import Params, parse_params
from contraband.experiments.study.clicks import Clicks, Sitting, chosen_images
from contraband.experiments.study.data import LABELS, RAW, DataSet, load_data
from contraband.experiments.study.draws import draw_patches, draw_points
from contraband.experiments.study.rows import FIELDS, TEST_FIELDS, Row, RowFile, seed_of
from contraband.experiments.study.settings import Arm, StudySettings
from contraband.label.image import FeatureImage
from contraband.label.settings import LabelSettings
from contraband.quick.file import Recipe
from contraband.samples.points import Points

BUSY = "is being written by another process"


@dataclass(frozen=True)
class Study:
    """Settings, and what follows from them. Data are read when they are first asked for."""

    settings: StudySettings
    _data: dict[str, DataSet] = field(default_factory=dict)
    _featured: dict[str, FeatureImage] = field(default_factory=dict)

    def data(self, name: str) -> DataSet:
        """A data set."""
        if name not in self._data:
            self._data[name] = load_data(name, self.settings.data[name])
        return self._data[name]

    def featured(self, raw: NDArray[Any], recipe: Recipe) -> FeatureImage:
        """Images with their Gaussian features, which are kept: many rows are scored on the same images."""
        key = hashlib.sha256(raw.tobytes() + recipe.model_dump_json().encode()).hexdigest()
        if key not in self._featured:
            self._featured.clear()
            self._featured[key] = FeatureImage(raw, recipe)
        return self._featured[key]

    def arm(self, row: Row) -> Arm:
        """The arm of a row."""
        return self.settings.arms[row.arm]

    def labels(self, row: Row) -> Points:
        """The labelled points of a row: the same for all its seeds, and for all its arms but those that have a user."""
        if self.arm(row).user is None:
            return self.drawn(row)
        clicked = self.clicks(row).points
        places = clicked.positions.copy()
        places[:, 0] = self._clicked_in(row)[places[:, 0]]
        return Points(places, clicked.labels)

    def drawn(self, row: Row) -> Points:
        """Points, or patches, drawn by nobody in particular."""
        classes = self.data(row.data).train_classes
        one = self.settings.rounds[row.round]
        if row.k == "all":
            known = classes >= 0
            return Points(np.argwhere(known).astype(np.int64), classes[known].astype(np.int64))
        if one.labels == "patches":
            return draw_patches(classes, row.k, one.patch, row.draw, f"data.{row.data}")
        if one.labels == "clicks":
            seen = self._clicked_in(row)
            classes = np.full_like(classes, -1)
            classes[seen] = self.data(row.data).train_classes[seen]
        return draw_points(classes, row.k, row.draw, f"data.{row.data}")

    def sitting(self, row: Row) -> Sitting:
        """The user of a row, in front of the images of its draw."""
        arm = self.arm(row)
        assert arm.user is not None  # asked for arms with a user
        seen = self._clicked_in(row)
        data = self.data(row.data)
        raw, classes = data.images("train").raw[seen], data.train_classes[seen]
        return Sitting(raw, classes, self.label_settings(row), arm.user, row.draw, data.settings.dims)

    def label_settings(self, row: Row) -> LabelSettings:
        """How the session of a row learns; raw is stretched as for a network."""
        levels = self.params(row, "labelled.zarr", "images.zarr").seg[0].percentiles
        return LabelSettings(head=self.arm(row).head, stretch=levels.per if levels else None, seed=row.draw)

    def clicks(self, row: Row) -> Clicks:
        """What the user of a row clicked; the same for all arms that have this user."""
        arm = self.arm(row)
        name = f"{row.data}-{row.round}-{arm.user}-{arm.head}-draw{row.draw}.json"
        most = max(k for k in self.settings.rounds[row.round].budgets if k != "all")
        assert row.k != "all"  # the settings know no such clicks
        return self.sitting(row).clicks(self.output / "clicks" / name, row.k, most)

    def _clicked_in(self, row: Row) -> NDArray[np.int64]:
        images = self.settings.rounds[row.round].images
        total = len(self.data(row.data).train_classes)
        return chosen_images(total, images if self.settings.data[row.data].dims == 2 else total, row.draw)

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
        dims = self.settings.data[row.data].dims
        if found.model[0].dims != dims:
            where = f"{self.params_file(self.arm(row))}: model.in_shape"
            raise BadInput(where, f"{row.data} is seen in {dims}D", got=list(found.model[0].in_shape))

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
        seed = [seed_of(row)]
        seg |= {"data_file": [labelled], "dataset": [train], "seed": seed, "sparse_target": ["classes"]}
        seg["baseline"] = [arm.start == "nothing"]
        result = {"pipeline": "standard", "model": plain["model"], "seg": seg}
        if arm.start == "contrastive":
            result["contrastive"] = plain["contrastive"] | {
                "data_file": [images],
                "dataset": RAW,
                "seed": [seed_of(row)],
            }
        return result

    def params_file(self, arm: Arm) -> Path:
        """The param_dict.json of an arm."""
        return arm.params or self.settings.params

    def fingerprint(self, row: Row) -> str:
        """Changes with everything that a row's scores depend on, but for versions of programs."""
        data = self.settings.data[row.data].model_dump(mode="json", exclude={"file"})
        arm = self.arm(row).model_dump(mode="json", exclude={"params"})
        for section, key, unused in ((arm, "user", None), (data, "dims", 2)):
            if section[key] == unused:  # a key that came later counts where it is used, so that older rows stay
                del section[key]
        plain: list[Any] = [data, arm]
        if self.arm(row).is_labelled:
            plain += [self.plain_params(row, "", ""), self.settings.folds.model_dump(mode="json")]
            one = self.settings.rounds[row.round]
            plain += [one.patch] if one.labels == "patches" else []
            plain += ["clicks", one.images] if one.labels == "clicks" else []
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

    @property
    def devices(self) -> Path:
        """What rows were computed on."""
        return self.output / "devices.json"

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
        return self.output / "encoders" / f"{row.data}-{digest}-seed{seed_of(row)}"
