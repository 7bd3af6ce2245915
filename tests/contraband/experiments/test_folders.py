"""Paths of an experiment."""

from __future__ import annotations

import pytest

from blockwise.errors import BadInput
from contraband.experiments.folders import Experiment, find_experiment


def test_the_layout_is_the_documented_one(tmp_path):
    """Each file lies where the architecture says."""
    experiment = Experiment(tmp_path / "ctc" / "EXP3-x-1-2-2026")
    seg = experiment.seg(1, 2, 5000)
    found = [
        experiment.param_dict,
        experiment.contrastive(1).history,
        experiment.contrastive(1).checkpoint(10),
        seg.metrics(20),
        seg.sample(20),
        seg.snapshot(5),
        experiment.seg(1, 2).path,
        experiment.embeddings(1, 5000, "validate/raw"),
        experiment.embeddings(1, 5000, "validate"),
    ]
    assert [str(path.relative_to(experiment.path)) for path in found] == [
        "param_dict.json",
        "combination-1/contrastive/history.npy",
        "combination-1/contrastive/checkpoints/model_checkpoint_10",
        "combination-1/seg/combination-2/contrastive_ckpt5000/metrics/metrics_20.csv",
        "combination-1/seg/combination-2/contrastive_ckpt5000/samples/sample_20.zarr",
        "combination-1/seg/combination-2/contrastive_ckpt5000/snapshots/snapshot_5.zarr",
        "combination-1/seg/combination-2/contrastive_ckpt0",
        "combination-1/emb/contrastive_ckpt5000/validate/raw_embs.zarr",
        "combination-1/emb/contrastive_ckpt5000/validate/raw_embs.zarr",
    ]
    assert (experiment.dataset, experiment.number) == ("ctc", 3)
    with pytest.raises(BadInput):
        experiment.embeddings(0, 1, "../../x")


def test_an_experiment_is_found_by_its_whole_number(tmp_path):
    """EXP1 is not EXP10; none or two of a number is bad input that lists what there is."""
    for name in ("EXP1-a-1-1-2026", "EXP10-b-1-1-2026", "EXP2-c", "EXP2-d"):
        (tmp_path / "experiments" / "ctc" / name).mkdir(parents=True)
    base = tmp_path / "experiments"
    assert find_experiment("ctc", 1, base).path.name == "EXP1-a-1-1-2026"
    with pytest.raises(BadInput, match="ambiguous"):
        find_experiment("ctc", 2, base)
    with pytest.raises(BadInput, match="EXP10-b"):
        find_experiment("ctc", 3, base)
    with pytest.raises(BadInput, match="ctc"):
        find_experiment("cct", 1, base)


def test_expirements_is_read_with_a_warning(tmp_path, caplog):
    """The folder name of the original is understood, and said."""
    (tmp_path / "expirements" / "ctc" / "EXP1-a").mkdir(parents=True)
    assert find_experiment("ctc", 1, tmp_path / "experiments").path.parent.parent.name == "expirements"
    assert "expirements" in caplog.text


def test_a_checkpoint_is_found_by_its_whole_number(tmp_path):
    """Asking for 1000 never gives 10000, and temporary files are no checkpoints."""
    run = Experiment(tmp_path).contrastive(0)
    run.checkpoints.mkdir(parents=True)
    for name in ("model_checkpoint_10000", "model_checkpoint_500", ".model_checkpoint_7.1.tmp"):
        (run.checkpoints / name).touch()
    assert run.saved_steps() == [500, 10000]
    with pytest.raises(BadInput, match="500, 10000"):
        run.require(1000)
