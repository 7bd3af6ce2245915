"""What labels teach: affinities of partly labelled volumes, and classes that become affinities."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import zarr
from torch.utils.data import DataLoader

import contraband
from blockwise.cluster.settings import Cluster
from blockwise.stages.foreground import ForegroundSettings
from blockwise.stages.fragments import FragmentSettings
from contraband.experiments.building import seg_task
from contraband.experiments.folders import SegFolder
from contraband.experiments.train import train_contrastive, train_seg
from contraband.experiments.validate import validation_settings
from contraband.models.checkpoints import load_checkpoint
from contraband.models.predictor import load_predictor
from contraband.samples.points import Points, write_points
from contraband.training.lessons import affinity_target, class_lesson
from contraband.training.losses import class_loss
from contraband.volumes.settings import Blocks, Model, Source, VolumeSettings
from tests.support.tiny import changed, class_volume, tiny_experiment

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("missing", [None, 0])
def test_every_class_that_is_there_weighs_the_same(axis, missing):
    """The mean over classes of the mean cross entropy of each, where unknown voxels count nothing."""
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 40, dtype=torch.float64)
    targets = torch.randint(0, 10, (2, 1, 40)).clamp(max=2)
    known = (torch.rand(2, 1, 40) < 0.7) & (targets != missing)
    losses = {number: [] for number in range(3)}
    for b, place in known[:, 0].nonzero().tolist():
        number = int(targets[b, 0, place])
        shares = [math.exp(logit) for logit in logits[b, :, place].tolist()]
        losses[number].append(-math.log(shares[number] / sum(shares)))
    means = [sum(each) / len(each) for each in losses.values() if each]
    assert len(means) == (3 if missing is None else 2)
    found = class_loss(*(tensor.movedim(1, axis) for tensor in (logits, targets, known)), axis)
    assert float(found) == pytest.approx(sum(means) / len(means), abs=1e-12)


def test_no_known_class_costs_nothing():
    """A batch without one has loss 0 and gradient 0."""
    logits = torch.randn(1, 3, 4, requires_grad=True)
    loss = class_loss(logits, torch.full((1, 1, 4), -1), torch.zeros(1, 1, 4, dtype=torch.bool))
    loss.backward()
    assert float(loss.detach()) == 0
    assert not logits.grad.any()


def learns_classes(folder, dims, pipeline, **seg):
    """The checkpoint of a training on three classes of made-up cells, and its settings."""
    dataset = {"train": {"raw": "raw", "gt": "classes"}}
    settings = {"sparse_target": "classes", "num_iterations": 120, "save_every": 120, "dataset": dataset} | seg
    experiment, params = tiny_experiment(folder, dims, pipeline, baseline=True, **settings)
    class_volume(folder)
    (path,) = train_seg(params, experiment, 0)
    return path, params


@pytest.mark.parametrize(
    ("dims", "pipeline", "augment"),
    [
        (2, "baseline_sparse_sh", "loader"),
        (3, "baseline_sparse_sh", "device"),
        (2, "standard", "device"),
        (3, "standard", "loader"),
    ],
)
def test_classes_become_affinities_exact_under_tiling(tmp_path, dims, pipeline, augment):
    """Points and scribbles alike teach inside and boundary; tiles say what the whole says, neighbours included."""
    path, _ = learns_classes(tmp_path, dims, pipeline, augment=augment, has_background=True, offsets=OFFSETS[dims])
    predictor = load_predictor(path, "affinities", device="cpu")
    assert (predictor.channels, predictor.has_foreground) == (len(OFFSETS[dims]) + 1, True)
    group = zarr.open_group(str(tmp_path / "data.zarr"))
    raw, classes = group["raw"][:], group["all classes"][:]
    begin = [-(-c // step) * step for c, step in zip(predictor.context, predictor.stride, strict=True)]
    output = predictor.fit_output([40 - 2 * b for b in begin])

    def predicted(begin, output):
        sides = zip(begin, output, predictor.context, strict=True)
        return predictor(raw[tuple(slice(b - c, b + n + c) for b, n, c in sides)])

    whole = predicted(begin, output)
    inside = tuple(slice(b, b + n) for b, n in zip(begin, output, strict=True))
    truth = classes[inside] == 1
    assert whole[-3][truth].mean() > whole[-3][classes[inside] == 2].mean() + 0.05
    assert whole[-1][classes[inside] != 0].mean() > whole[-1][classes[inside] == 0].mean() + 0.05
    tile = predictor.stride
    for place in itertools.product(*((0, (n // step - 1) * step) for n, step in zip(output, tile, strict=True))):
        corner = list(place)
        found = predicted([b + c for b, c in zip(begin, corner, strict=True)], tile)
        wanted = whole[(slice(None), *(slice(c, c + n) for c, n in zip(corner, tile, strict=True)))]
        np.testing.assert_allclose(found, wanted, atol=1e-5, rtol=0)


OFFSETS = {2: [[0, -1, 0], [0, 0, -1], [0, 3, -5]], 3: [[-1, 0, 0], [0, -1, 0], [0, 0, -1], [3, 0, 4]]}


@pytest.mark.parametrize("dims", [2, 3])
def test_a_volume_is_run_with_a_checkpoint_of_classes(tmp_path, dims):
    """From raw to segments: what is stored is what the predictor says, and blocks do not show."""
    path, _ = learns_classes(tmp_path, dims, "baseline_sparse_sh", has_background=True)
    found = []
    for name, shape in (("whole", (40, 40, 40)), ("blocks", (16, 24, 20))):
        settings = VolumeSettings(
            volume=Source(raw=tmp_path / "data.zarr" / "raw"),
            model=Model(checkpoint=path, precision="float32", tile=(8, 12, 20)),
            output=tmp_path / f"{name}.zarr",
            blocks=Blocks(shape=shape),
            fragments=FragmentSettings(per_section=dims == 2, foreground=ForegroundSettings()),
            cluster=Cluster(kind="none"),
        )
        contraband.run(settings, progress=False)
        found.append([zarr.open_array(str(settings.output / what))[:] for what in ("affinities", "foreground")])
        assert np.unique(np.asarray(contraband.open_result(settings).segments(0.5)[:])).size > 2
    assert found[0][0].shape == (dims, 40, 40, 40)
    for whole, blocks in zip(*found, strict=True):
        np.testing.assert_array_equal(whole, blocks)


def test_affinities_are_the_smaller_probability_of_inside(tmp_path):
    """As those of the classes themselves, with the neighbours beyond the tile."""
    path, params = learns_classes(tmp_path, 2, "standard", num_iterations=4, offsets=OFFSETS[2])
    predictor = load_predictor(path, "affinities", device="cpu")
    task = seg_task(params, params.model[0], params.seg[0], True, None, None)
    task.network.load_state_dict(load_checkpoint(path)["ema"])
    raw = zarr.open_group(str(tmp_path / "data.zarr"))["raw"][:3]
    tile = predictor.fit_output((3, 8, 8))
    sides = [slice(0, n) for n in predictor.input_shape(tile)]
    with torch.no_grad():
        logits = task.network(torch.from_numpy(raw[tuple(sides)].astype(np.float32) / np.float32(255))[:, None])
    inside = logits.softmax(1)[:, 1].numpy()
    edges = [(n - m) // 2 for n, m in zip(inside.shape, tile, strict=True)]
    for channel, offset in zip(predictor(raw[tuple(sides)]), OFFSETS[2], strict=True):
        here, there = (
            inside[tuple(slice(e + o * at, e + o * at + n) for e, o, n in zip(edges, offset, tile, strict=True))]
            for at in (0, 1)
        )
        np.testing.assert_allclose(channel, np.minimum(here, there), atol=1e-6)


def test_a_head_learns_classes_from_embeddings(tmp_path):
    """sparse_sh takes the classes of points from the CSV; the loss falls where the embeddings say them."""
    experiment, params = tiny_experiment(
        tmp_path, 2, "sparse_sh", sparse_target="classes", num_iterations=100, lr=0.03, points=str(tmp_path / "p.csv")
    )
    classes = class_volume(tmp_path)
    train_contrastive(params, experiment, 0)
    places = np.concatenate([np.argwhere(classes == number)[:: len(classes) * 9][:6] for number in range(3)])
    write_points(Points(places, classes[tuple(places.T)].astype(np.int64)), tmp_path / "p.csv")
    features = np.concatenate([np.stack([classes == n for n in range(3)]), np.zeros((5, *classes.shape))])
    container = zarr.open_group(str(experiment.embeddings(0, 10, "raw")), mode="w")
    container.create_array("embeddings", data=features.astype(np.float16))
    (head,) = train_seg(params, experiment, 0, [10])
    assert load_checkpoint(head)["history"][-1] < 0.1


def test_validation_takes_the_foreground_of_classes(tmp_path):
    """With a background it comes from the class of the same name, otherwise everything is in a fragment."""
    dataset = {"train": {"raw": "raw", "gt": "classes"}, "validate": {"raw": "raw", "gt": "labels"}}
    for has_background in (True, False):
        folder = tmp_path / str(has_background)
        some = {"num_iterations": 1, "has_background": has_background, "dataset": dataset}
        path, params = learns_classes(folder, 2, "standard", **some)
        settings = validation_settings(params.seg[0], SegFolder(path.parents[1]), 1, 2, folder)
        assert (settings.fragments.foreground is not None) == has_background


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("in_loader", [True, False])
@pytest.mark.parametrize("target", ["affinity", "classes"])
def test_what_is_not_labelled_is_never_background(tmp_path, dims, in_loader, target):
    """Scribbles with a number of their own for `unknown`: nothing is known there, however samples are moved."""
    _, params = tiny_experiment(tmp_path, dims, baseline=True, elastic=True, draw="labelled")
    group = zarr.open_group(str(tmp_path / "data.zarr"))
    values = class_volume(tmp_path) if target == "classes" else group["labels"][:]
    scribbles = np.full(values.shape, 77, np.uint16)
    scribbles[9:12, 10:30, 4:36] = values[9:12, 10:30, 4:36]
    group.create_array("labels", data=scribbles, overwrite=True)
    params = changed(params, "seg", unknown=77, sparse_target=target)
    task = seg_task(params, params.model[0], params.seg[0], in_loader, None, None)
    batch = next(iter(DataLoader(task.samples, batch_size=6, sampler=range(6))))
    labels = batch["labels"]
    assert not (labels == 77).any()
    assert all((labels >= 0).flatten(1).any(1)), "a labelled voxel is in every sample"
    assert (labels == -1).any()
    _, _, known = task.inputs(batch)
    assert 0 < known.float().mean() < 0.9
    assert torch.isfinite(task.loss(batch))


def test_object_scribbles_teach_affinities_between_labelled_voxels():
    """Known where both voxels are labelled: 1 for the same number, 0 for two numbers; unknown elsewhere."""
    labels = torch.nn.functional.pad(torch.tensor([[[[5, 5, -1, 5, 7, 0, -1]]]]), (3, 3), value=-1)
    targets, known = affinity_target([(0, 0, -1), (0, 0, -3)], (0, 0, 3), 0)(labels)
    assert known[0, 0, 0, 0].tolist() == [False, True, False, False, True, True, False]
    assert targets[0, 0, 0, 0][known[0, 0, 0, 0]].tolist() == [1, 0, 0]
    assert known[0, 1, 0, 0].tolist() == [False, False, False, True, True, False, False]
    assert targets[0, 1, 0, 0][known[0, 1, 0, 0]].tolist() == [1, 0]


def test_points_of_classes_are_the_targets():
    """A point's own label is its class."""
    lesson = class_lesson()
    assert lesson.of_points(torch.tensor([[0, 2]])).tolist() == [[[0], [2]]]
