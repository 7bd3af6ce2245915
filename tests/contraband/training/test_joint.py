"""Learning from unlabelled samples in the same steps as from labels."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import zarr
from torch.utils.data import DataLoader

from blockwise.errors import BadInput
from contraband import interface
from contraband.experiments.building import seg_task
from contraband.experiments.params import load_params
from contraband.experiments.train import train_seg
from contraband.models.checkpoints import load_checkpoint
from contraband.models.predictor import load_predictor
from contraband.training.joint import replace_voxels
from contraband.training.joint_settings import DenoiseSettings
from tests.support.tiny import changed, tiny_experiment

JOINT = {"denoise": {"share": 0.1, "radius": 2, "weight": 0.5}}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("shape", [(1, 20, 24), (9, 10, 11)])
def test_a_share_of_the_voxels_shows_a_neighbour(shape):
    """Exactly that many, each another voxel at most the radius away; what was there is remembered, the rest stays."""
    total = int(np.prod(shape))
    raw = torch.arange(3 * 2 * total).reshape(3, 2, *shape).float()
    replaced = replace_voxels(raw, [5, 6, 7], DenoiseSettings(share=0.05, radius=2))
    count = round(0.05 * total)
    assert replaced.places.shape == (3, count, 3)
    different = (replaced.raw != raw).any(1)
    assert different.sum() > 0.9 * 3 * count
    for b in range(3):
        places = {tuple(place) for place in replaced.places[b].tolist()}
        assert len(places) == count
        assert {tuple(place) for place in different[b].nonzero().tolist()} <= places
        for p, (z, y, x) in enumerate(replaced.places[b].tolist()):
            assert replaced.wanted[b, p].tolist() == raw[b, :, z, y, x].tolist()
            near = np.unravel_index(int(replaced.raw[b, 0, z, y, x] - raw[b, 0, 0, 0, 0]), shape)
            assert max(abs(a - c) for a, c in zip(near, (z, y, x), strict=True)) <= 2


def test_replaced_voxels_depend_on_the_seed_of_a_sample_alone():
    """Not on the samples beside it."""
    raw = torch.rand(3, 1, 1, 20, 20)
    alone = replace_voxels(raw[1:2], [6], DenoiseSettings())
    beside = replace_voxels(raw, [5, 6, 7], DenoiseSettings())
    assert torch.equal(alone.raw[0], beside.raw[1])
    assert torch.equal(alone.places[0], beside.places[1])
    assert not torch.equal(beside.places[0], beside.places[1])


def joint_experiment(folder, dims=2, pipeline="baseline_sparse_sh", **seg):
    return tiny_experiment(folder, dims, pipeline, **{"baseline": True, "joint": JOINT, "levels": 2} | seg)


@pytest.mark.parametrize(
    ("dims", "pipeline", "augment"),
    [
        (2, "baseline_sparse_sh", "loader"),
        (3, "baseline_sparse_sh", "device"),
        (2, "standard", "device"),
        (3, "standard", "loader"),
    ],
)
def test_a_joint_training_goes_on_exactly_and_predicts(tmp_path, dims, pipeline, augment):
    """Stopped after a step and taken up again, losses and weights are those of an undisturbed training."""
    some = {"augment": augment, "elastic": True, "num_iterations": 6, "warmup_steps": 4, "cooldown": 0.3}
    experiment, params = joint_experiment(tmp_path / "a", dims, pipeline, **some)
    (path,) = train_seg(params, experiment, 0)
    again, same = joint_experiment(tmp_path / "b", dims, pipeline, **some)
    assert train_seg(changed(same, "seg", max_seconds=1e-9), again, 0) == [again.seg(0, 0).checkpoint(1)]
    (resumed,) = train_seg(same, again, 0)
    first, second = load_checkpoint(path), load_checkpoint(resumed)
    assert first["history"].tolist() == second["history"].tolist()
    assert len(first["history"]) == 6
    assert all(torch.equal(first["ema"][name], second["ema"][name]) for name in first["ema"])
    assert first["ema"]["restoring.layers.0.weight"].shape == (1, 24)
    predictor = load_predictor(path, "affinities", device="cpu")
    assert predictor(np.zeros(predictor.input_shape(predictor.stride), np.uint8)).shape[0] == dims


def test_restoring_gets_better(tmp_path):
    """Without labels that say anything, the loss that is left is that of denoising, and it falls."""
    experiment, params = joint_experiment(tmp_path, 2, "standard", num_iterations=80, save_every=80, intensity=False)
    group = zarr.open_group(str(tmp_path / "data.zarr"))
    group.create_array("labels", data=np.full((40, 40, 40), -1, np.int16), overwrite=True)
    (path,) = train_seg(changed(params, "seg", schedule_steps=10**6), experiment, 0)
    history = load_checkpoint(path)["history"].numpy()
    assert 0 < history[-10:].mean() < 0.5 * history[:10].mean()


def test_the_weight_of_denoising_falls_to_a_fifth(tmp_path):
    """Evenly over the steps, all samples of a step alike."""
    _, params = joint_experiment(tmp_path, 2, num_iterations=101, batch_size=2)
    task = seg_task(params, params.model[0], params.seg[0], True, None, None)
    done = [float(task.samples[index]["done"]) for index in (0, 1, 2, 100)]
    assert done == pytest.approx([0, 0, 1 / 101, 50 / 101])
    batch = next(iter(DataLoader(task.samples, batch_size=2, sampler=range(2))))
    with torch.no_grad():
        first, middle, last = (float(task.loss(batch | {"done": torch.full((2,), at)})) for at in (0.0, 0.5, 1.0))
        labels = float(task.loss(batch | {"done": torch.full((2,), 1.25)}))  # where the weight would be 0
    assert first - labels == pytest.approx(5 * (last - labels), rel=1e-4)
    assert first - middle == pytest.approx(middle - last, rel=1e-3)
    assert last > labels


def test_weights_begin_as_without_it(tmp_path):
    """So that arms of a study differ by the training alone."""
    _, params = joint_experiment(tmp_path, 2)
    tasks = [
        seg_task(params, params.model[0], one.seg[0], True, None, None)
        for one in (params, changed(params, "seg", joint=None))
    ]
    joint, plain = (dict(task.network.named_parameters()) for task in tasks)
    assert joint.keys() - plain.keys() == {"restoring.layers.0.weight", "restoring.layers.0.bias"}
    assert all(torch.equal(joint[name], plain[name]) for name in plain)


@pytest.mark.parametrize("in_loader", [True, False])
def test_unlabelled_samples_come_from_the_volumes_named(tmp_path, in_loader):
    """As many as labelled ones, of the same extents, and from the labels' own volume where none is named."""
    other = str(tmp_path / "other.zarr")
    zarr.open_group(other, mode="w").create_array("raw", data=np.full((3, 40, 40), 51, np.uint8))
    for unlabelled in ([{"file": other, "dataset": "raw"}], []):
        plain = {"joint": JOINT | {"unlabelled": unlabelled}, "simple": False, "intensity": False, "noise": False}
        _, params = joint_experiment(tmp_path / str(len(unlabelled)), 2, **plain)
        task = seg_task(params, params.model[0], params.seg[0], in_loader, None, None)
        batch = next(iter(DataLoader(task.samples, batch_size=2, sampler=range(2))))
        assert batch["unlabelled"].shape == batch["raw"].shape
        assert not torch.equal(batch["unlabelled"], batch["raw"])
        assert bool((batch["unlabelled"] == 51 * np.float32(1 / 255)).all()) == bool(unlabelled)
        assert torch.isfinite(task.loss(batch))


FAULTS = {
    "share": ({"joint": {"denoise": {"share": 0}}}, "joint.denoise.share"),
    "radius": ({"joint": {"denoise": {"radius": 0}}}, "joint.denoise.radius"),
    "key": ({"joint": {"teacher": True}}, "joint.teacher: unknown key"),
    "frozen": ({"freeze_base": True}, "joint trains the encoder, which freeze_base keeps"),
    "no volume": ({"joint": {"unlabelled": [{"file": "no.zarr", "dataset": "raw"}]}}, "no.zarr: no such zarr"),
    "cooldown": ({"cooldown": 1.0}, "cooldown"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_joint_training_that_cannot_work_is_refused(tmp_path, name):
    """One line, and nothing is written."""
    change, wanted = FAULTS[name]
    experiment, _ = joint_experiment(tmp_path)
    data = json.loads(experiment.param_dict.read_text())
    data["seg"] |= {key: [value] for key, value in change.items()}
    experiment.param_dict.write_text(json.dumps(data))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BadInput, match=wanted) as caught:
        interface.train(experiment.path, "seg")
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_joint_training_on_embeddings_is_refused(tmp_path):
    """There is no encoder to train."""
    experiment, _ = tiny_experiment(tmp_path, 2, "sparse_sh")
    text = experiment.param_dict.read_text().replace('"seg": {', '"seg": {"joint": {}, ')
    experiment.param_dict.write_text(text)
    with pytest.raises(BadInput, match="joint trains an encoder on raw, and the pipeline sparse_sh reads"):
        load_params(experiment.param_dict)


def test_a_longer_training_is_another_where_steps_depend_on_its_length(tmp_path):
    """With a rate or a weight that falls, more steps are refused by name; with `schedule_steps` they are the same."""
    experiment, params = joint_experiment(tmp_path, num_iterations=2)
    train_seg(params, experiment, 0)
    with pytest.raises(BadInput, match=r"seg.schedule_steps was 2 and is 3"):
        train_seg(changed(params, "seg", num_iterations=3), experiment, 0)
    assert train_seg(changed(params, "seg", num_iterations=3, schedule_steps=2), experiment, 0)


def test_the_rate_falls_in_the_last_steps(tmp_path):
    """Evenly over that share of the steps, with warm-up before; without it nothing changes."""
    _, params = tiny_experiment(tmp_path, 2, num_iterations=10, warmup_steps=2)
    flat, falling = (changed(params, "seg", cooldown=share).seg[0] for share in (0.0, 0.4))
    assert [flat.lr_at(step) / flat.lr for step in range(1, 11)] == [0.5] + [1.0] * 9
    found = [falling.lr_at(step) / flat.lr for step in range(1, 11)]
    assert found == pytest.approx([0.5, *[1] * 5, 0.8, 0.6, 0.4, 0.2])
