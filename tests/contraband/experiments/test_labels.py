"""Labels as people make them: several files, partly labelled volumes, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from torch.utils.data import DataLoader

from blockwise.errors import BadInput
from contraband import interface
from contraband.experiments.building import seg_task
from contraband.experiments.labels import labelled_points
from tests.support.tiny import changed, class_volume, tiny_experiment

HEADER = "z,y,x,class\n"
GOOD = HEADER + "1,2,3,0\n4,5,6,1\n7,8,9,2\n10,11,12,1\n"


def experiment_with(folder: Path, **seg):
    """A tiny experiment on points of classes, two good files beside it."""
    (folder / "a.csv").write_text(GOOD)
    (folder / "b.csv").write_text(HEADER + "0,0,0,2\n39,39,39,0\n")
    return tiny_experiment(folder, 2, "baseline_sparse_sh", baseline=True, **{"sparse_target": "classes"} | seg)


def test_the_files_of_several_people_are_one_set_of_points(tmp_path):
    """One after the other, each with its own column of classes; one file needs no list."""
    files = [str(tmp_path / name) for name in ("a.csv", "b.csv")]
    _, params = experiment_with(tmp_path, points=files)
    points = labelled_points(params.seg[0])
    assert points.labels.tolist() == [0, 1, 2, 1, 2, 0]
    assert points.positions[[0, -1]].tolist() == [[1, 2, 3], [39, 39, 39]]
    assert len(labelled_points(changed(params, "seg", points=(files[0],)).seg[0])) == 4


def test_points_of_classes_need_no_label_volume(tmp_path):
    """Raw alone is read, and a point that was given is in every sample with its class."""
    _, params = experiment_with(tmp_path, points=str(tmp_path / "a.csv"), dataset={"train": {"raw": "raw"}})
    task = seg_task(params, params.model[0], params.seg[0], True, None, None)
    batch = next(iter(DataLoader(task.samples, batch_size=4, sampler=range(4))))
    assert "labels" not in batch
    assert batch["valid"].any(1).all()
    _, _, targets, known = task.inputs(batch)
    assert set(targets[known].tolist()) <= {0, 1, 2}
    assert torch.isfinite(task.loss(batch))


def test_labels_of_several_volumes_are_drawn_about(tmp_path):
    """Patches of each volume hold labelled voxels, whichever it is."""
    _, params = tiny_experiment(tmp_path, 3, baseline=True, draw="labelled")
    for name, place in (("one", slice(4, 6)), ("two", slice(30, 32))):
        group = zarr.open_group(str(tmp_path / f"{name}.zarr"), mode="w")
        values = np.full((40, 40, 40), -1, np.int16)
        values[place, 10:14, 10:14] = 1 if name == "one" else 2
        values[place, 20:24, 20:24] = 0
        group.create_array("labels", data=values)
        group.create_array("raw", data=np.zeros((40, 40, 40), np.uint8))
    files = tuple(str(tmp_path / f"{name}.zarr") for name in ("one", "two"))
    params = changed(params, "seg", data_file=files)
    task = seg_task(params, params.model[0], params.seg[0], True, None, None)
    batch = next(iter(DataLoader(task.samples, batch_size=12, sampler=range(12))))
    assert (batch["labels"] >= 0).flatten(1).any(1).all()
    assert {1, 2} <= set(batch["labels"].unique().tolist())


FAULTS = {
    "outside": ({}, HEADER + "1,2,3,1\n40,0,0,0\n", r"b.csv: point 2 lies outside the volume; got \[40, 0, 0\]"),
    "no class": ({}, HEADER + "1,2,3,7\n", "b.csv: point 1 is of no known class; got 7, wanted 0 background, 1 inside"),
    "one class": ({"points": ["b.csv"]}, HEADER + "1,2,3,1\n4,4,4,1\n", "b.csv: labels too few classes; got inside"),
    "no inside": ({"points": ["b.csv"]}, HEADER + "1,2,3,0\n4,4,4,2\n", "got background, boundary, wanted inside"),
    "one kind": (
        {"points": ["b.csv"], "sparse_target": "foreground"},
        HEADER + "1,2,3,1\n4,4,4,5\n",
        "b.csv: all points are of one kind; got foreground",
    ),
    "missing": ({"points": ["b.csv", "c.csv"]}, HEADER + "1,2,3,1\n", "c.csv: no such file"),
    "no list": ({"points": []}, "", "seg: points"),
    "shape": ({"gt": "small"}, GOOD, "data.zarr/small: has a different shape from raw"),
    "place": ({"gt": "far"}, GOOD, "far: has no voxel in common with the volume; got voxels of 8, 4, 4 nm from 400"),
    "beside": ({"gt": "beside"}, GOOD, "beside: lies elsewhere than raw; got voxels of 8, 4, 4 nm from 8, 0, 0"),
    "number": ({"gt": "numbers", "points": None}, "", "data.zarr/numbers: holds a number that is no class; got 9"),
    "empty": ({"gt": "nothing", "points": None}, "", "data.zarr/nothing: labels too few classes; got none"),
    "scribbles": ({"gt": "numbers", "pipeline": "standard"}, "", "holds a number that is no class; got 9"),
    "unlabelled": (
        {"gt": "nothing", "pipeline": "standard", "sparse_target": "auto", "draw": "labelled"},
        "",
        "data.zarr/nothing: holds no labelled voxel; label some, or check seg.unknown",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_labels_that_cannot_be_learnt_from_are_refused(name, tmp_path, monkeypatch):
    """One line that names the file and the fault, exit code 2, and nothing is written."""
    change, text, wanted = FAULTS[name]
    monkeypatch.chdir(tmp_path)
    dataset = {"train": {"raw": "raw", "gt": change.get("gt", "classes")}}
    seg = {"points": ["a.csv", "b.csv"], "dataset": dataset}
    seg |= {key: value for key, value in change.items() if key in ("points", "sparse_target", "draw")}
    experiment, _ = experiment_with(tmp_path, **seg | ({"points": "a.csv"} if name == "no list" else {}))
    if name == "no list":
        plain = experiment.param_dict.read_text().replace('"points": ["a.csv"]', '"points": [[]]')
        experiment.param_dict.write_text(plain)
    if "pipeline" in change:
        plain = experiment.param_dict.read_text().replace("baseline_sparse_sh", change["pipeline"])
        experiment.param_dict.write_text(plain)
    (tmp_path / "b.csv").write_text(text)
    volumes(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BadInput, match=wanted) as caught:
        interface.train(experiment.path, "seg")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    assert sorted(tmp_path.rglob("*")) == before


def volumes(folder: Path) -> None:
    """Label volumes with a fault each, beside raw that says where it lies."""
    classes = class_volume(folder)
    group = zarr.open_group(str(folder / "data.zarr"))
    group["raw"].attrs.update({"voxel_size": [8, 4, 4], "offset": [0, 0, 0], "units": ["nm"] * 3})
    numbers = classes.copy()
    numbers[3, 3, 3] = 9
    for name, values, offset in (
        ("small", classes[:, :39], [0, 0, 0]),
        ("far", classes, [400, 0, 0]),
        ("beside", classes, [8, 0, 0]),
        ("numbers", numbers, [0, 0, 0]),
        ("nothing", np.full_like(classes, -1), [0, 0, 0]),
    ):
        place = {"voxel_size": [8, 4, 4], "offset": offset, "units": ["nm"] * 3}
        group.create_array(name, data=values, attributes=place)
