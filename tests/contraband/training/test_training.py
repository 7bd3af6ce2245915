"""Training: it learns, it can be killed, and it says what is wrong."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import torch
import zarr
from torch.utils.data import DataLoader

from blockwise.errors import BadInput, WorkFailed
from blockwise.files.whole import write_whole
from contraband.experiments.building import seg_task
from contraband.experiments.train import train_contrastive, train_seg
from contraband.models import checkpoints
from contraband.models.checkpoints import load_checkpoint, save_checkpoint
from contraband.models.folder import RunFolder, latest_checkpoint
from contraband.models.predictor import load_predictor
from contraband.training import loading
from contraband.training.lessons import affinity_target
from contraband.training.loading import supervised
from tests.support.paths import ROOT
from tests.support.tiny import tiny_experiment

pytestmark = pytest.mark.usefixtures("one_thread")


def baseline(folder, dims=2, **seg):
    return tiny_experiment(folder, dims, baseline=True, **seg)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("augment", ["loader", "device"])
def test_everything_the_seed_trains_is_trained(tmp_path, dims, augment):
    """An encoder, then a head on it: checkpoints, history, snapshots and TensorBoard lie where they belong."""
    experiment, params = tiny_experiment(tmp_path, dims, freeze_base=True, augment=augment)
    seen = []
    path = train_contrastive(params, experiment, 0, lambda *step: seen.append(step))
    run = experiment.contrastive(0)
    assert path == run.checkpoint(10)
    assert run.saved_steps() == [4, 8, 10]
    assert np.load(run.history, allow_pickle=False).tolist() == [step[2] for step in seen]
    assert [step[:2] for step in seen] == [(n, 10) for n in range(1, 11)]
    assert list(run.tensorboard.iterdir())
    snapshot = zarr.open_group(str(run.snapshot(8)))
    views = {f"{what}_{view}" for what in ("raw", "points", "embeddings") for view in (0, 1)}
    assert set(snapshot) == views | {"valid"}
    (head,) = train_seg(params, experiment, 0, [10])
    assert head == experiment.seg(0, 0, 10).checkpoint(10)
    snapshot = zarr.open_group(str(experiment.seg(0, 0, 10).snapshot(8)))
    assert set(snapshot) == {"raw", "affinities", "known", "prediction", "embeddings"}
    assert snapshot["prediction"].shape[:2] == (2, dims)
    assert snapshot["embeddings"].shape == (2, 3, *snapshot["prediction"].shape[2:])
    before, after = load_checkpoint(path)["ema"], load_checkpoint(head)["ema"]
    base = [name for name in after if name.startswith("base.")]
    assert base
    assert all(torch.equal(before[name], after[name]) for name in base)


@pytest.mark.parametrize(
    ("dims", "target", "augment"),
    [(2, "affinity", "loader"), (3, "affinity", "device"), (2, "foreground", "device"), (3, "foreground", "loader")],
)
def test_a_baseline_learns_from_points(tmp_path, dims, target, augment):
    """The sparse end-to-end pipeline tells the inside of cells from their borders."""
    seg = {"baseline": True, "num_iterations": 100, "sparse_target": target, "augment": augment}
    experiment, params = tiny_experiment(tmp_path, dims, "baseline_sparse_sh", **seg)
    (path,) = train_seg(params, experiment, 0)
    predictor = load_predictor(path, "affinities", device="cpu")
    raw, labels = (zarr.open_group(str(tmp_path / "data.zarr"))[name][:] for name in ("raw", "labels"))
    tile = predictor.fit_output([n - 2 * c for n, c in zip(raw.shape, predictor.context, strict=True)])
    shape = predictor.input_shape(tile)
    values = predictor(raw[tuple(slice(n) for n in shape)])[-1]
    labels = labels[tuple(slice(c, c + n) for c, n in zip(predictor.context, tile, strict=True))]
    assert values[labels > 0].mean() > values[labels == 0].mean() + 0.05


def test_a_head_learns_from_embeddings_at_points(tmp_path):
    """sparse_sh reads embeddings where `emb` writes them, and trains the head alone."""
    seg = {"num_iterations": 150, "sparse_target": "foreground", "lr": 0.03}
    experiment, params = tiny_experiment(tmp_path, 2, "sparse_sh", **seg)
    train_contrastive(params, experiment, 0)
    with pytest.raises(BadInput, match="emb"):
        train_seg(params, experiment, 0, [10])
    labels = zarr.open_group(str(tmp_path / "data.zarr"))["labels"][:]
    features = np.stack([labels > 0, labels == 0, *[labels * 0] * 6]).astype(np.float16)
    container = zarr.open_group(str(experiment.embeddings(0, 10, "raw")), mode="w")
    container.create_array("embeddings", data=features)
    (head,) = train_seg(params, experiment, 0, [10])
    assert load_checkpoint(head)["history"][-1] < 0.1


def test_a_dense_baseline_learns_and_stops_at_its_steps(tmp_path):
    """The loss falls, and training again does nothing."""
    experiment, params = baseline(tmp_path, num_iterations=60, save_every=60)
    (path,) = train_seg(params, experiment, 0)
    history = load_checkpoint(path)["history"].numpy()
    assert history[-10:].mean() < 0.8 * history[:10].mean()
    changed = path.stat().st_mtime_ns
    assert train_seg(params, experiment, 0) == [path]
    assert path.stat().st_mtime_ns == changed


@pytest.mark.parametrize(("dims", "pipeline"), [(2, "standard"), (3, "standard"), (2, "baseline_sparse_sh")])
def test_with_a_background_foreground_is_learnt_too(tmp_path, dims, pipeline):
    """One channel more than affinities, high inside of labels and low outside; without a background there is none."""
    experiment, params = tiny_experiment(
        tmp_path, dims, pipeline, baseline=True, has_background=True, num_iterations=60, save_every=60
    )
    task = seg_task(params, params.model[0], params.seg[0], True, None, None)
    (path,) = train_seg(params, experiment, 0)
    content = load_checkpoint(path)
    assert (content["head"]["out_channels"], len(content["offsets"])) == (dims + 1, dims)
    task.network.load_state_dict(content["ema"])
    batch = next(iter(DataLoader(task.samples, batch_size=4, sampler=range(4))))
    with torch.no_grad():
        foreground = task.pictures(batch)["prediction"][:, -1]
    wanted = affinity_target([(0, 0, -1)], (1 if dims == 3 else 0, 1, 1), 0, True)(batch["labels"])[0][:, -1].numpy()
    assert foreground.shape == wanted.shape
    assert foreground[wanted > 0].mean() > foreground[wanted == 0].mean() + 0.05
    without = params.model_copy(update={"seg": (params.seg[0].model_copy(update={"has_background": False}),)})
    with pytest.raises(BadInput, match="other settings"):
        train_seg(without, experiment, 0)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("in_loader", [True, False])
def test_points_teach_the_affinities_of_their_voxel(tmp_path, dims, in_loader):
    """What a point teaches is what dense targets say at that voxel, and a point of background teaches 0."""
    _, params = baseline_points(tmp_path, dims)
    task = seg_task(params, params.model[0], params.seg[0], in_loader, None, None)
    batch = next(iter(DataLoader(task.samples, batch_size=3, sampler=range(3))))
    _, points, targets, known = task.inputs(batch)
    assert targets.shape == known.shape == (3, 32, dims)
    assert 0 < targets[known].mean() < 1
    if in_loader:
        dense, _ = task.lesson.of_volume(batch["labels"])
        for b, p in batch["valid"].nonzero().tolist():
            assert torch.equal(targets[b, p], dense[b, :, *points[b, p]])
            if batch["point_labels"][b, p] == 0 and not params.seg[0].elastic:
                assert not targets[b, p].any()


def baseline_points(folder, dims):
    return tiny_experiment(folder, dims, "baseline_sparse_sh", baseline=True)


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from contraband.experiments.folders import Experiment
from contraband.experiments.params import load_params
from contraband.models.predictor import load_predictor
from contraband.training.lessons import affinity_target
from contraband.experiments.train import train_seg
torch.set_num_threads(1)
experiment = Experiment(Path(sys.argv[1]))
def progress(step, total, loss, its):
    if step == 7:
        os.kill(os.getpid(), signal.SIGKILL)
train_seg(load_params(experiment.param_dict), experiment, 0, [], progress)
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_training_goes_on_as_if_nothing_had_happened(tmp_path, workers):
    """Killed at step 7 and resumed from step 4, losses and weights equal those of an undisturbed training."""
    disturbed, params = baseline(tmp_path / "a", workers=workers, elastic=True, warmup_steps=6)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(disturbed.path)], cwd=ROOT, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert disturbed.seg(0, 0).saved_steps() == [4]
    undisturbed, same = baseline(tmp_path / "b", workers=workers, elastic=True, warmup_steps=6)
    first, second = (
        load_checkpoint(train_seg(settings, experiment, 0)[0])
        for experiment, settings in ((disturbed, params), (undisturbed, same))
    )
    assert first["history"].tolist() == second["history"].tolist()
    assert len(first["history"]) == 10
    for part in ("network", "ema"):
        assert all(torch.equal(first[part][name], second[part][name]) for name in first[part])


def test_a_time_budget_counts_over_all_commands(tmp_path):
    """Out of time after the first step, the next command does nothing; with more time it goes on."""
    experiment, params = baseline(tmp_path, max_seconds=1e-9)
    assert train_seg(params, experiment, 0) == [experiment.seg(0, 0).checkpoint(1)]
    assert train_seg(params, experiment, 0) == [experiment.seg(0, 0).checkpoint(1)]
    longer = params.model_copy(update={"seg": (params.seg[0].model_copy(update={"max_seconds": 60.0}),)})
    assert train_seg(longer, experiment, 0) == [experiment.seg(0, 0).checkpoint(10)]


def test_reduced_precision_trains_nearly_the_same(tmp_path):
    """With bfloat16 the weights stay in float32 and the losses are those of float32 to some percent."""
    losses = {}
    for precision in ("float32", "bfloat16"):
        experiment, params = baseline(tmp_path / precision, precision=precision)
        content = load_checkpoint(train_seg(params, experiment, 0)[0])
        losses[precision] = content["history"]
        assert all(weight.dtype == torch.float32 for weight in content["network"].values())
    assert not torch.equal(losses["float32"], losses["bfloat16"])
    torch.testing.assert_close(losses["float32"], losses["bfloat16"], rtol=0.05, atol=0)


def test_a_head_on_other_raw_than_its_encoder_is_warned_of(tmp_path, caplog):
    """An encoder trained on raw as it is and a head on stretched raw do not fit."""
    experiment, params = tiny_experiment(tmp_path, 2, normalize="percentile", num_iterations=1)
    train_contrastive(params, experiment, 0)
    train_seg(params, experiment, 0, [10])
    assert "normalised differently" in caplog.text


def test_the_rate_grows_in_the_first_steps(tmp_path):
    """With plain gradient descent the first of four warm-up steps goes a quarter of the way, a later one all of it."""
    firsts = {}
    for warmup in (0, 4):
        experiment, params = baseline(tmp_path / str(warmup), optimizer="sgd", num_iterations=1, warmup_steps=warmup)
        task = seg_task(params, params.model[0], params.seg[0], True, None, None)
        before = {name: value.clone() for name, value in task.network.named_parameters()}
        after = load_checkpoint(train_seg(params, experiment, 0)[0])["network"]
        firsts[warmup] = torch.cat([(after[name] - before[name]).detach().flatten() for name in before])
    assert firsts[0].abs().max() > 0
    torch.testing.assert_close(firsts[4] * 4, firsts[0], rtol=1e-3, atol=1e-6)
    assert [params.seg[0].lr_at(step) / params.seg[0].lr for step in (1, 2, 4, 5, 99)] == [0.25, 0.5, 1, 1, 1]


def test_a_loss_that_is_no_number_stops_the_training(tmp_path):
    """One line with the step; what was saved before stays."""
    experiment, params = baseline(tmp_path, lr=1e30, optimizer="sgd", save_every=1)
    with pytest.raises(WorkFailed, match="at step"):
        train_seg(params, experiment, 0)
    steps = experiment.seg(0, 0).saved_steps()
    assert steps
    assert np.isfinite(load_checkpoint(experiment.seg(0, 0).checkpoint(steps[-1]))["history"]).all()


@pytest.mark.parametrize(("number", "why"), [(signal.SIGKILL, "ended: signal SIGKILL"), (signal.SIGSTOP, "for 2 s")])
def test_a_loader_process_that_dies_or_hangs_is_reported(tmp_path, number, why):
    """One line after the step, no process left behind, and the training goes on from its checkpoint."""
    experiment, params = baseline(tmp_path, workers=2, loader_timeout_s=2, num_iterations=60, save_every=1)
    others, processes = {one.pid for one in multiprocessing.active_children()}, []

    def progress(step, *_):
        if step == 2:
            started = {one.pid for one in multiprocessing.active_children()} - others
            processes.extend(psutil.Process(pid) for pid in started)
            os.kill(processes[0].pid, number)
            for _ in range(30):  # torch's handler would be called meanwhile, and raise here
                time.sleep(0.01)

    with pytest.raises(WorkFailed, match=f"loader process is gone or hangs .*{why}") as caught:
        train_seg(params, experiment, 0, (), progress)
    assert "\n" not in str(caught.value)
    assert experiment.seg(0, 0).saved_steps()[-1] >= 2
    assert len(processes) == 2
    assert not any(process.is_running() for process in processes)
    shorter = params.model_copy(update={"seg": (params.seg[0].model_copy(update={"num_iterations": 20}),)})
    assert train_seg(shorter, experiment, 0)


class DiesSlowly:
    """A process whose death is heard before anybody waits for it."""

    def __init__(self, process):
        self.process = process

    def kill(self):
        self.process.kill()

    def join(self):
        while psutil.Process(self.process.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        for _ in range(30):  # the signal may be handed to another thread first
            time.sleep(0.01)
        self.process.join()


def give_up(folder, settings):
    """Loader processes give nothing while they are supervised."""
    with supervised(folder, settings):
        loader = iter(DataLoader(range(100), num_workers=2))
        next(loader)
        raise RuntimeError("DataLoader processes gave nothing")


def test_loader_processes_that_are_ended_are_not_taken_for_a_fault(tmp_path, monkeypatch):
    """torch's handler hears of their deaths wherever this process is: it would raise instead of the one line."""
    others = iter(DataLoader(range(100), num_workers=2))
    heard, before = signal.getsignal(signal.SIGCHLD), set(multiprocessing.active_children())
    started = iter([before, ()])

    def children():
        return next(started) or before | {DiesSlowly(one) for one in set(multiprocessing.active_children()) - before}

    monkeypatch.setattr(loading, "active_children", children)
    with pytest.raises(WorkFailed, match="loader process is gone or hangs"):
        give_up(tmp_path, baseline(tmp_path)[1].seg[0])
    assert signal.getsignal(signal.SIGCHLD) is heard
    assert next(others) == 0  # those that were there before live on


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    """keep_checkpoints counts from the end."""
    experiment, params = baseline(tmp_path, save_every=2, keep_checkpoints=2)
    train_seg(params, experiment, 0)
    assert experiment.seg(0, 0).saved_steps() == [8, 10]


SEEN = {"kind": "segmentation", "model": {"num_fmaps": 8}, "seed": 0, "settings_hash": "a"}
ALL = {"model.num_fmaps": 8, "seg.seed": 0, "seg.lr": 0.1, "seg.elastic": False, "pipeline": "standard"}
CHANGES = {
    "seed": (SEEN | {"settings": ALL}, {"seg.seed": 5}, "seg.seed was 0 and is 5"),
    "pipeline": (SEEN | {"settings": ALL}, {"pipeline": "sparse_sh"}, "pipeline was standard and is sparse_sh"),
    "two": (SEEN | {"settings": ALL}, {"seg.lr": 1, "seg.elastic": True}, "seg.lr was 0.1 and is 1, seg.elastic was"),
    "old seed": (SEEN, {"seg.seed": 5}, "settings: seg.seed was 0 and is 5;"),
    "old model": (SEEN, {"model.num_fmaps": 9}, "settings: model.num_fmaps was 8 and is 9;"),
    "old rate": (SEEN, {"seg.lr": 1}, "which, it does not say"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_training_is_told_by_the_keys_that_changed(name, tmp_path):
    """Not by hashes; of checkpoints from before settings were kept, by what they hold."""
    content, changed, line = CHANGES[name]
    wanted = {"kind": "segmentation", "settings_hash": "b", "settings": ALL | changed}
    with pytest.raises(BadInput) as caught:
        checkpoints.check_same_settings(content, wanted, tmp_path)
    assert line in str(caught.value)


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    """Neither resuming with another rate nor a head on an encoder of another combination goes unnoticed."""
    experiment, params = tiny_experiment(tmp_path)
    train_contrastive(params, experiment, 0)
    settings = params.contrastive[0].model_copy(update={"lr": 0.5, "num_iterations": 20})
    changed = params.model_copy(update={"contrastive": (settings,)})
    with pytest.raises(BadInput, match=r"other settings: contrastive.lr was 0.003 and is 0.5;"):
        train_contrastive(changed, experiment, 0)
    with pytest.raises(BadInput, match=r"other settings: contrastive.lr was"):
        train_seg(changed, experiment, 0, [10])
    with pytest.raises(BadInput, match="4, 8, 10"):
        train_seg(params, experiment, 0, [1])
    with pytest.raises(BadInput, match="contrastive checkpoints"):
        train_seg(params, experiment, 0)


HOLDING = """
import sys
from pathlib import Path
from contraband.models.checkpoints import only_trainer
from contraband.models.folder import RunFolder, latest_checkpoint
with only_trainer(RunFolder(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_trainings_do_not_share_a_folder(tmp_path):
    """The second one is told so and disturbs nothing; afterwards the folder is free."""
    experiment, params = baseline(tmp_path)
    run = experiment.seg(0, 0)
    command = [sys.executable, "-c", HOLDING, str(run.path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(BadInput, match="another process"):
            train_seg(params, experiment, 0)
        other.communicate()
    assert run.saved_steps() == []
    assert train_seg(params, experiment, 0) == [run.checkpoint(10)]


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    """A checkpoint is whole or not there, and nothing else is left behind."""
    path = tmp_path / "model_checkpoint_1"
    write_whole(path, lambda file: file.write(b"old"))

    def broken(file):
        file.write(b"ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="full"):
        write_whole(path, broken)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_reader_of_the_old_file_is_not_disturbed(tmp_path):
    """The new content takes the place of the old in one move; who has the old one open reads on in it."""
    path = tmp_path / "history.npy"
    write_whole(path, lambda file: file.write(b"old"))
    with path.open("rb") as reader:
        write_whole(path, lambda file: file.write(b"new"))
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"


def test_old_checkpoints_go_only_after_the_new_one_is_there(tmp_path, monkeypatch):
    """If writing fails, the checkpoint before it is still the newest."""
    folder = RunFolder(tmp_path)
    content = {"step": 1, "history": torch.zeros(1)}
    save_checkpoint(folder, content, keep=1)
    monkeypatch.setattr(checkpoints.torch, "save", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="full"):
        save_checkpoint(folder, content | {"step": 2}, keep=1)
    assert folder.saved_steps() == [1]


def test_files_that_are_no_checkpoints_are_bad_input(tmp_path):
    """Missing, cut off, foreign, or holding code instead of numbers."""
    (tmp_path / "cut").write_bytes(b"PK\x03\x04")
    torch.save({"some": 1}, tmp_path / "foreign")
    torch.save(print, tmp_path / "code")
    for name in ("none", "cut", "foreign", "code"):
        with pytest.raises(BadInput):
            load_checkpoint(tmp_path / name)
    with pytest.raises(BadInput, match="holds no checkpoint"):
        latest_checkpoint(tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_training_on_what_is_no_number_is_refused(tmp_path, value):
    """Before the first step, naming the array and the voxel; no checkpoint is left."""
    experiment, params = baseline(tmp_path)
    group = zarr.open_group(str(tmp_path / "data.zarr"))
    raw = group["raw"][:].astype(np.float32)
    raw[7, 8, 9] = value
    group.create_array("raw", data=raw, overwrite=True)
    with pytest.raises(WorkFailed, match=r"data.zarr/raw: raw holds NaN or infinite values, here first at .*7, 8, 9"):
        train_seg(params, experiment, 0)
    assert experiment.seg(0, 0).saved_steps() == []


@pytest.mark.parametrize("value", [-1, 2**16 - 1])
def test_a_training_without_labelled_voxels_says_so(tmp_path, caplog, value):
    """Nothing is learnt from -1, or from the largest unsigned number."""
    experiment, params = baseline(tmp_path)
    group = zarr.open_group(str(tmp_path / "data.zarr"))
    labels = np.full(group["labels"].shape, value, np.int16 if value < 0 else np.uint16)
    group.create_array("labels", data=labels, overwrite=True)
    train_seg(params, experiment, 0)
    assert "no batch held a labelled voxel" in caplog.text
