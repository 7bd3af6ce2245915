"""The whole grid: what is missing is run, here or on workers; tables and best scores."""

from __future__ import annotations

import contextlib
import csv
import json
import threading

import numpy as np
import psutil
import pytest
import zarr

from blockwise.cluster.settings import Cluster
from blockwise.errors import BadInput, WorkFailed
from contraband.cli import call
from contraband.experiments.grid import Training, encoders, grid_rows, heads, state_of, write_best_metrics
from contraband.experiments.params import load_params
from contraband.experiments.train import train_contrastive
from contraband.experiments.train_all import Everything
from tests.support.tiny import tiny_experiment

VOLUME = {"raw": "raw", "gt": "labels"}


def grid(folder, pipeline="standard", contrastive=None, with_heads=True, **seg):
    """A tiny experiment with a validation set and two rates of the encoder; the settings may list several options."""
    experiment, _ = tiny_experiment(folder, 2, pipeline)
    content = json.loads(experiment.param_dict.read_text())
    content["contrastive"] |= {"lr": [0.003, 0.001], "num_iterations": [4]} | (contrastive or {})
    content["seg"] |= {"dataset": [{"train": VOLUME, "validate": VOLUME}], "num_iterations": [4]} | seg
    if not with_heads:
        del content["seg"]
    experiment.param_dict.write_text(json.dumps(content))
    return experiment, load_params(experiment.param_dict)


def test_trainings_are_listed_in_the_order_of_the_grid(tmp_path):
    """Encoders first; a head for each contrastive checkpoint, a baseline once."""
    experiment, params = grid(tmp_path, baseline=[False, True])
    assert encoders(params) == [Training(0), Training(1)]
    assert heads(params, experiment, 1) == [Training(1, 1, 0)]
    assert heads(params, experiment, 1, [7, 5, 7]) == [Training(1, 0, 5), Training(1, 0, 7), Training(1, 1, 0)]


def test_states_tell_missing_begun_and_done(tmp_path):
    """Done is who has all steps, or used up the time."""
    experiment, params = grid(tmp_path)
    assert state_of(Training(0), params, experiment) == "missing"
    train_contrastive(params, experiment, 0)
    assert state_of(Training(0), params, experiment) == "done"
    for change, state in (({}, "begun"), ({"max_seconds": 1e9}, "begun"), ({"max_seconds": 1e-6}, "done")):
        longer = params.contrastive[0].model_copy(update={"num_iterations": 9} | change)
        assert state_of(Training(0), params.model_copy(update={"contrastive": (longer,)}), experiment) == state


@pytest.mark.slow
def test_all_runs_what_is_missing(tmp_path, capsys):
    """Two encoders, their heads, a baseline each and the scores; a second call runs nothing and scores nothing."""
    experiment, params = grid(tmp_path, baseline=[False, True])
    assert len(Everything(params, experiment).run()) == 6
    assert {row["state"] for row in grid_rows(params, experiment)} == {"done"}
    metrics = [path.stat().st_mtime_ns for path in sorted(experiment.path.rglob("metrics_*.csv"))]
    assert len(metrics) == 4
    assert Everything(params, experiment).run() == []
    assert metrics == [path.stat().st_mtime_ns for path in sorted(experiment.path.rglob("metrics_*.csv"))]
    assert call(["report", str(experiment.path), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out.splitlines()[-1])["grid"]) == 6
    with experiment.best_metrics.open() as lines:
        rows = list(csv.DictReader(lines))
    assert list(rows[0])[:5] == ["contrastive_comb", "seg_comb", "contrastive_ckpt", "seg_ckpt", "threshold"]
    places = [(row["contrastive_comb"], row["seg_comb"], row["contrastive_ckpt"], row["seg_ckpt"]) for row in rows]
    assert places[0] == ("combination-0", "combination-0", "contrastive_ckpt4", "4")
    assert places[3] == ("combination-1", "combination-1", "contrastive_ckpt0", "4")
    scored = {(row["training"], row["combination"]): row for row in grid_rows(params, experiment)}
    assert float(rows[3]["voi_sum"]) == scored["seg 1 on none", 1]["voi_sum"]


def kill_a_worker(killed: list[psutil.Process], end: threading.Event) -> None:
    """Kill the Dask worker of the first training seen, and remember the training's process."""
    while not killed and not end.wait(0.02):
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "contraband.experiments.train_all" in process.cmdline():
                    killed.append(process)
                    process.parent().kill()
                    return


@pytest.mark.slow
def test_trainings_run_on_workers_and_survive_one(tmp_path):
    """A training whose worker is killed ends and is sent again; loader processes work; losses are those of here."""
    losses = {}
    killed, end = [], threading.Event()
    killer = threading.Thread(target=kill_a_worker, args=(killed, end))
    for name, cluster in (("here", None), ("there", Cluster(workers=2, dashboard=False))):
        experiment, params = grid(tmp_path / name, contrastive={"workers": [1]}, with_heads=False)
        if cluster is not None:
            killer.start()
        assert len(Everything(params, experiment, cluster=cluster).run()) == 2
        losses[name] = [np.load(path).tolist() for path in sorted(experiment.path.rglob("history.npy"))]
    end.set()
    killer.join()
    assert not killed[0].is_running()
    assert losses["here"] == losses["there"]
    assert len(losses["here"]) == 2


def test_sparse_heads_get_their_embeddings(tmp_path):
    """With save_embs, embeddings are made between encoder and head."""
    experiment, _ = grid(tmp_path, "sparse_sh", {"lr": [0.003]})
    content = json.loads(experiment.param_dict.read_text())
    content["save_embs"] = {"datasets": ["raw"], "data_file": [str(tmp_path / "data.zarr")]}
    content["seg"]["dataset"] = [{"train": {"raw": "raw", "gt": "labels"}}]
    experiment.param_dict.write_text(json.dumps(content))
    assert len(Everything(load_params(experiment.param_dict), experiment).run()) == 2
    assert experiment.seg(0, 0, 4).saved_steps() == [4]


def test_one_failure_leaves_the_others(tmp_path):
    """An encoder that diverges is named at the end; the heads of the other are trained."""
    experiment, params = grid(
        tmp_path, contrastive={"lr": [1e30, 0.003], "optimizer": ["sgd"]}, dataset=[{"train": VOLUME}]
    )
    with pytest.raises(WorkFailed, match="combination 0, contrastive"):
        Everything(params, experiment).run()
    assert experiment.seg(1, 0, 4).saved_steps() == [4]
    assert experiment.seg(0, 0, 4).saved_steps() == []


def test_faults_are_found_before_anything_is_trained(tmp_path):
    """A data set that is not there, in the last combination, stops before the first is trained."""
    experiment, params = grid(tmp_path, contrastive={"dataset": [["raw"], ["nosuch"]]})
    with pytest.raises(BadInput, match="nosuch"):
        Everything(params, experiment).run()
    assert not list(experiment.path.glob("combination-*"))
    assert write_best_metrics(params, experiment) is None


def test_validation_cuts_with_the_predicted_foreground(tmp_path):
    """With a background the network's last channel says what is left out of fragments; it is stored, too."""
    experiment, params = grid(tmp_path, baseline=[True], has_background=[True], num_iterations=[40], save_every=[40])
    Everything(params.model_copy(update={"contrastive": ()}), experiment).run()
    sample = zarr.open_group(str(experiment.seg(0, 0).sample(40)))
    assert sample["affinities"].shape == (2, 40, 40, 40)
    outside = sample["foreground"][:] <= 127
    assert 0.1 < outside.mean() < 0.9
    assert not sample["fragments"][:][outside].any()


BAD = {
    "lr": ({"seg": {"lr": [-1]}}, "seg: lr"),
    "array": ({"seg": {"dataset": [{"train": {"raw": "nosuch", "gt": "labels"}}]}}, "nosuch: is not a zarr array"),
    "in_shape": ({"model": {"in_shape": [33, 32]}}, "does not fit the network; got [33, 32], wanted [34, 32]"),
    "points": ({"pipeline": "baseline_sparse_sh", "seg": {"points": ["out.csv"]}}, "point 1 lies outside the volume"),
    "settings": ({"contrastive": {"temperature": [0.7]}, "seg": {"baseline": [False]}}, "trained with other settings"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_ends_with_one_line_and_nothing_written(name, tmp_path, monkeypatch, capsys):
    """A parameter out of range, a missing array, a shape, points outside, a checkpoint of another combination."""
    change, line = BAD[name]
    experiment, params = grid(tmp_path, contrastive={"lr": [0.003]}, baseline=[True])
    if name == "settings":
        train_contrastive(params, experiment, 0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out.csv").write_text("z,y,x,label\n0,0,99,1\n")
    content = json.loads(experiment.param_dict.read_text())
    content["model"][0] |= change.get("model", {})
    for section in ("contrastive", "seg"):
        content[section] |= change.get(section, {})
    experiment.param_dict.write_text(json.dumps(content | {"pipeline": change.get("pipeline", "standard")}))
    before = sorted(tmp_path.rglob("*"))
    assert call(["train", "--dataset", "tiny", "--exp", "1", "--mode", "seg"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert line in lines[0]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_cluster_goes_with_all_only(capsys):
    """Workers for one training alone are refused."""
    assert call(["train", "--dataset", "tiny", "--exp", "1", "--cluster", "c.yaml"]) == 2
    assert "add --all" in capsys.readouterr().err


COMMANDS = [["train", "--mode", "seg", "--checkpoints", "9"], ["train"], ["embed"], ["validate"]]


@pytest.mark.parametrize("command", COMMANDS)
def test_an_index_beyond_the_grid_is_named(command, tmp_path, monkeypatch, capsys):
    """It is the index that is wrong, whatever else is missing for it."""
    grid(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert call([*command, "--dataset", "tiny", "--exp", "1", "--index", "7"]) == 2
    assert "--index: no such combination; got 7" in capsys.readouterr().err
