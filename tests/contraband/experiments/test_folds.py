"""Stopping where cross-validation over the labelled points says."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import zarr
from scipy import ndimage

from blockwise.errors import BadInput
from contraband import interface
from contraband.cli import call
from contraband.experiments.building import seg_task
from contraband.experiments.folds import parted_labels, read_choice, split
from contraband.experiments.grid import Training, grid_rows, state_of
from contraband.experiments.labels import labelled_points
from contraband.experiments.params import load_params
from contraband.experiments.train import train_contrastive, train_seg
from contraband.models.checkpoints import load_checkpoint
from contraband.models.hardware import choose_hardware
from contraband.samples.points import Points, write_points
from contraband.training.held_out import FoldTask
from tests.support.tiny import changed, class_volume, tiny_experiment

POINTS = 12
SEG = {"sparse_target": "classes", "num_iterations": 9, "save_every": 9, "folds": 3, "held_out_every": 3}


pytestmark = pytest.mark.usefixtures("one_thread")


def folded(folder, dims=2, pipeline="baseline_sparse_sh", **seg):
    """A tiny experiment that learns classes from a few points and stops by three folds of them."""
    settings = SEG | {"baseline": pipeline != "sparse_sh", "points": str(folder / "p.csv")} | seg
    experiment, params = tiny_experiment(folder, dims, pipeline, **settings)
    classes = class_volume(folder)
    rng = np.random.default_rng(2)
    each = [rng.permutation(np.argwhere(classes[10:30] == number))[: POINTS // 3] for number in range(3)]
    places = np.concatenate(each) + np.array([10, 0, 0])
    write_points(Points(places, classes[tuple(places.T)].astype(np.int64)), folder / "p.csv")
    return experiment, params


def test_each_class_is_dealt_out_evenly(tmp_path):
    """Folds of equal size with each class in each, points of one voxel together, the same for one seed."""
    _, params = folded(tmp_path)
    settings = changed(params, "seg", folds=4).seg[0]
    positions = np.stack([np.arange(20)] * 3, axis=1)
    positions[8] = positions[0]  # a voxel that two people labelled, each differently
    points = Points(positions, np.repeat([0, 1, 2], [8, 8, 4]))
    found = split(points, settings)
    assert found[8] == found[0]
    counts = np.stack([np.bincount(points.labels[found == fold], minlength=3) for fold in range(4)])
    assert counts.min() >= 1
    assert counts.max(0).tolist() == [2, 3, 1]
    assert np.array_equal(found, split(points, settings))
    assert not np.array_equal(found, split(points, settings.model_copy(update={"seed": 9})))


@pytest.mark.parametrize(("dims", "augment"), [(2, "loader"), (3, "device")])
def test_a_training_stops_where_the_folds_say(tmp_path, dims, augment):
    """At the step of the least mean held-out loss, with the very losses of a training on all points up to there."""
    some = {"augment": augment, "levels": 2, "joint": {"denoise": {"share": 0.1}}, "cooldown": 0.5, "warmup_steps": 3}
    experiment, params = folded(tmp_path / "a", dims, **some)
    seen = []
    (path,) = train_seg(params, experiment, 0, (), lambda step, total, *_: seen.append((step, total)))
    folder = experiment.seg(0, 0)
    choice = read_choice(folder)
    assert choice is not None
    assert (choice.steps, len(choice.losses)) == ([3, 6, 9], 3)
    assert choice.step == choice.steps[int(np.argmin(np.mean(choice.losses, axis=0)))]
    assert path == folder.checkpoint(choice.step)
    assert seen == [(step, 36) for step in range(1, 27 + choice.step + 1)]
    assert not folder.folds.exists()
    content = load_checkpoint(path)
    assert content["folds"]["step"] == choice.step
    assert content["folds"]["losses"] == choice.losses
    other, same = folded(tmp_path / "b", dims, **some | {"folds": 0})
    plain = load_checkpoint(train_seg(same, other, 0)[0])
    assert content["history"].tolist() == plain["history"].tolist()[: choice.step]
    assert state_of(Training(0, 0), params, experiment) == "done"
    row = next(row for row in grid_rows(params, experiment) if row["training"].startswith("seg"))
    assert (row["steps"], row["wanted"]) == (choice.step, choice.step)
    changed_at = path.stat().st_mtime_ns
    assert train_seg(params, experiment, 0) == [path]
    assert path.stat().st_mtime_ns == changed_at


def test_what_was_chosen_is_printed(tmp_path, monkeypatch, capsys):
    """One line that names the step, the planned steps and the folds; the same as data with --json."""
    experiment, _ = folded(tmp_path, num_iterations=2, held_out_every=1)
    monkeypatch.chdir(tmp_path)
    assert call(["train", "--dataset", "tiny", "--exp", "1", "--mode", "seg", "--json"]) == 0
    out = capsys.readouterr().out
    choice = read_choice(experiment.seg(0, 0))
    assert json.loads(out.strip().splitlines()[-1])["folds"].popitem()[1] == choice.as_dict()
    assert call(["train", "--dataset", "tiny", "--exp", "1", "--mode", "seg"]) == 0
    out = capsys.readouterr().out
    assert f"stops after step {choice.step} of 2: there the held-out points of 3 folds have the least loss" in out


def test_an_interrupted_choice_goes_on(tmp_path):
    """Stopped in the second fold and started again, the choice and the losses are those of an undisturbed one."""
    undisturbed, params = folded(tmp_path / "a", save_every=2)
    train_seg(params, undisturbed, 0)
    disturbed, same = folded(tmp_path / "b", save_every=2)

    def stop(step, *_):
        if step == 9 + 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_seg(same, disturbed, 0, (), stop)
    assert read_choice(disturbed.seg(0, 0)) is None
    train_seg(same, disturbed, 0)
    assert read_choice(disturbed.seg(0, 0)) == read_choice(undisturbed.seg(0, 0))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("target", ["affinity", "foreground", "classes"])
def test_the_held_out_loss_is_that_of_the_points(tmp_path, dims, target):
    """Of each point in the middle of its own surroundings, as the lesson weighs them; the samples do not hold it."""
    _, params = folded(tmp_path, dims, sparse_target=target, dataset={"train": {"raw": "raw", "gt": "labels"}})
    task = seg_task(params, params.model[0], params.seg[0], True, None, None)
    points = labelled_points(params.seg[0])
    rows = np.array([0, 1, 4, 5, 6, 9])
    fold = FoldTask(task, rows, 1)
    assert fold.samples.points.positions.tolist() == np.delete(points.positions, rows, axis=0).tolist()
    network = task.network
    group = zarr.open_group(str(tmp_path / "data.zarr"))
    raw, labels = np.pad(group["raw"][:] / np.float32(255), 30, mode="reflect"), group["labels"][:]
    shape, output = task.augmenter, network.base.output_shape(params.model[0].in_shape)
    assert shape is None
    extents = (1,) * (3 - dims) + tuple(params.model[0].in_shape)
    inside = (1,) * (3 - dims) + tuple(output)
    logits, targets, known = [], [], []
    for row in rows:
        place = points.positions[row]
        begin = [p + 30 - i // 2 - (n - i) // 2 for p, i, n in zip(place, inside, extents, strict=True)]
        crop = torch.from_numpy(raw[tuple(slice(b, b + n) for b, n in zip(begin, extents, strict=True))]).float()
        said = network(crop[None, None] if dims == 3 else crop[None])[(0, slice(None), *(n // 2 for n in output))]
        logits.append(said)
        if target == "classes":
            targets.append(torch.tensor([int(points.labels[row])]))
            known.append(torch.tensor([True]))
        elif target == "foreground":
            targets.append(torch.full((dims,), float(points.labels[row] > 0)))
            known.append(torch.ones(dims, dtype=torch.bool))
        else:
            here = labels[tuple(place)]
            offsets = params.seg[0].offsets_for(dims)
            there = [place + np.array(offset) for offset in offsets]
            known.append(torch.tensor([bool((at >= 0).all()) for at in there]))
            same = [bool((at >= 0).all()) and here == labels[tuple(at)] and here > 0 for at in there]
            targets.append(torch.tensor(same).float())
    tensors = (torch.stack(one)[:, None] for one in (logits, targets, known))
    wanted = task.lesson.loss(*tensors, 2)
    found = fold.held_out_loss(dict(network.named_parameters()), choose_hardware("loader", "float32"))
    assert found == pytest.approx(float(wanted.detach()), rel=1e-5)


@pytest.mark.parametrize(("dims", "target"), [(2, "classes"), (3, "affinity")])
def test_a_training_on_label_volumes_stops_by_pieces(tmp_path, dims, target):
    """Connected pieces are held out in turn, as many as are told; then it trains on all labels up to the step."""
    data = {"train": {"raw": "raw", "gt": "classes" if target == "classes" else "labels"}}
    some = SEG | {"folds": 2, "sparse_target": target, "dataset": data, "baseline": True}
    experiment, params = tiny_experiment(tmp_path, dims, "standard", **some)
    class_volume(tmp_path)
    (path,) = train_seg(params, experiment, 0)
    choice = read_choice(experiment.seg(0, 0))
    assert choice is not None
    assert (choice.steps, len(choice.losses)) == ([3, 6, 9], 2)
    assert path == experiment.seg(0, 0).checkpoint(choice.step)
    assert choice.pieces > 2
    assert f"labels of 2 folds ({choice.pieces} connected pieces, no object in two folds) have" in choice.in_words()
    assert load_checkpoint(path)["folds"]["pieces"] == choice.pieces
    assert not experiment.seg(0, 0).folds.exists()


@pytest.mark.parametrize(("dims", "name"), [(2, "classes"), (3, "all classes"), (3, "labels")])
def test_no_object_is_both_learnt_and_held_out(tmp_path, dims, name):
    """Of scribbles, a dense box of classes or of objects, a fold learns what is left; each label is held out once."""
    data = {"train": {"raw": "raw", "gt": name}}
    some = SEG | {"dataset": data, "baseline": True, "sparse_target": "affinity" if name == "labels" else "classes"}
    experiment, params = tiny_experiment(tmp_path, dims, "standard", **some)
    class_volume(tmp_path)
    labels = zarr.open_group(str(tmp_path / "data.zarr"))[name][:].astype(int)
    objects = labels if name == "labels" else ndimage.label(labels == 1)[0]
    folds = parted_labels(params, params.seg[0], experiment.seg(0, 0))
    seen = np.zeros(labels.shape, int)
    for number in range(3):
        (left,) = folds.left_out(number)
        kept, held = left.labels.open()[:], left.held.open()[:]
        assert ((kept == labels) | (kept == -1)).all()
        assert ((held == labels) | (held == -1)).all()
        learnt = set(objects[(kept >= 0) & (objects > 0)].tolist())
        told = set(objects[(held >= 0) & (objects > 0)].tolist())
        assert learnt
        assert told
        assert not learnt & told
        seen += held >= 0
    assert (seen[labels >= 0] == 1).all()


def at(labels, place) -> int:
    """The label of a voxel; -1 outside of the volume."""
    return int(labels[tuple(place)]) if min(place) >= 0 else -1


@pytest.mark.parametrize(("dims", "name"), [(2, "classes"), (3, "labels")])
def test_the_held_out_loss_of_a_volume_is_that_of_the_voxels_left_out(tmp_path, dims, name):
    """Voxels of the network's outputs about what is left out; the samples hold what is left to learn alone."""
    some = {"dataset": {"train": {"raw": "raw", "gt": name}}, "baseline": True, "draw": "labelled"}
    some["sparse_target"] = "affinity" if name == "labels" else "classes"
    experiment, params = tiny_experiment(tmp_path, dims, "standard", **SEG | some)
    class_volume(tmp_path)
    task = seg_task(params, params.model[0], params.seg[0], True, None, None)
    (left,) = parted_labels(params, params.seg[0], experiment.seg(0, 0)).left_out(0)
    fold = FoldTask(task, [left], 1)
    for item in range(4):
        drawn = set(fold.samples[item]["labels"].numpy().ravel().tolist())
        assert drawn <= {-1, *np.unique(left.labels.open()[:]).tolist()}
        assert drawn != {-1}
    held = left.held.open()[:]
    output = np.array((1,) * (3 - dims) + tuple(task.network.base.output_shape(params.model[0].in_shape)))
    raw = fold.held_out.raw
    logits = task.network(raw if dims == 3 else raw[:, :, 0]).reshape(len(raw), -1, *output)
    said, targets = [], []
    for row, centre in enumerate(left.centres.positions):
        told = fold.held_out.points[row][fold.held_out.known[row].any(1)]
        assert len(told)
        for point in told.numpy():
            place = centre - output // 2 + point
            assert held[tuple(place)] >= 0
            said.append(logits[(row, slice(None), *point)])
            if name == "classes":
                targets.append([held[tuple(place)]])
                continue
            others = [at(held, place + np.array(offset)) for offset in params.seg[0].offsets_for(3)]
            targets.append([-1 if one < 0 else int(one == held[tuple(place)] > 0) for one in others])
    targets = torch.tensor(targets)[None]
    wanted = task.lesson.loss(torch.stack(said)[None], targets if dims == 2 else targets.float(), targets >= 0, 2)
    found = fold.held_out_loss(dict(task.network.named_parameters()), choose_hardware("loader", "float32"))
    assert found == pytest.approx(float(wanted.detach()), rel=1e-4)


def test_a_head_on_embeddings_stops_by_folds_too(tmp_path):
    """Where the held-out points' embeddings say."""
    experiment, params = folded(tmp_path, 2, "sparse_sh", lr=0.03, num_iterations=30, held_out_every=5)
    train_contrastive(params, experiment, 0)
    classes = zarr.open_group(str(tmp_path / "data.zarr"))["all classes"][:]
    features = np.concatenate([np.stack([classes == n for n in range(3)]), np.zeros((5, *classes.shape))])
    container = zarr.open_group(str(experiment.embeddings(0, 10, "raw")), mode="w")
    container.create_array("embeddings", data=features.astype(np.float16))
    train_seg(params, experiment, 0, [10])
    choice = read_choice(experiment.seg(0, 0, 10))
    assert choice.steps == [5, 10, 15, 20, 25, 30]
    assert choice.means[-1] < choice.means[0]
    assert choice.step == 30


FAULTS = {
    "one": ({"folds": 1}, None, "folds is 1, and with one fold all points are held out"),
    "dense": ({"folds": 3}, "standard", "has fewer objects than folds, and no object is cut; got 1, wanted at least 3"),
    "many": ({"folds": 13}, None, "seg.folds: more folds than labelled voxels; got 13, wanted up to 12"),
    "single": ({"folds": 2}, "single", "seg.folds: only one labelled voxel is boundary; got 1, wanted 2 or more"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_folds_that_cannot_be_are_refused(tmp_path, name):
    """One line, and nothing is written."""
    change, special, wanted = FAULTS[name]
    experiment, _ = folded(tmp_path)
    if special == "single":
        lines = (tmp_path / "p.csv").read_text().splitlines()
        (tmp_path / "p.csv").write_text("\n".join(lines[:10]) + "\n")
    text = experiment.param_dict.read_text().replace('"folds": [3]', f'"folds": [{change["folds"]}]')
    experiment.param_dict.write_text(text.replace("baseline_sparse_sh", "standard") if special == "standard" else text)
    if special == "standard":
        labels = zarr.open_group(str(tmp_path / "data.zarr"))["labels"]
        nearly_nothing = np.full(labels.shape, 65535, np.uint16)
        nearly_nothing[20, 20, 20:22] = 1, 2
        labels[:] = nearly_nothing
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BadInput, match=wanted) as caught:
        interface.train(experiment.path, "seg")
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before
    if special != "standard" and name != "one":
        with pytest.raises(BadInput, match=wanted):
            call_all(experiment)


def call_all(experiment) -> None:
    """What `train --all` checks before the first training."""
    from contraband.experiments.train_all import Everything

    params = load_params(experiment.param_dict)
    Everything(params, experiment).check()
