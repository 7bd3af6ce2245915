"""A tiny study from its file to its report: killed, gone on with, tested once, and refused where it cannot work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from contraband.cli import call
from contraband.experiments.study.rows import FIELDS, TEST_FIELDS, RowFile
from tests.contraband.experiments.study.test_settings import plain
from tests.support.discs import stored_discs
from tests.support.labelled import labelled_image
from tests.support.paths import ROOT

TINY = {"batch_size": 2, "precision": "float32", "normalize": "percentile", "levels": 2, "snapshot_every": 1000}
PARAMS = {
    "model": {"in_shape": [32, 32], "num_fmaps": 4, "downsample_factors": [[2, 2]]},
    "contrastive": TINY | {"num_iterations": 2, "point_density": 0.05},
    "seg": TINY | {"num_iterations": 4, "save_every": 2, "simple": True, "lr": 0.003},
}
OTSU = {"Otsu": {"method": "otsu"}}
CLICKS = {"data": ["discs"], "budgets": [6, 12], "draws": [0, 1], "labels": "clicks", "images": 2}
QUICK = {"forest": {"method": "quick", "features": "gaussian", "head": "forest"}}
NETWORKS = {"end to end": {"method": "network"}, "levels": {"method": "network", "seg": {"levels": 1, "workers": 1}}}

DIE = """
import os, sys
from contraband.experiments.study import arms
from contraband.cli import call

compute, done = arms.compute, []

def die_at_the_third(study, row):
    done.append(row)
    if len(done) == 3:
        os._exit(9)
    return compute(study, row)

arms.compute = die_at_the_third
call(["study", "study.yaml"])
"""


def written(arms: dict[str, Any], **changes: Any) -> None:
    """study.yaml in the working folder, with what it needs beside it: these arms, a budget, two draws, a seed."""
    stored_discs(Path("discs.npz"), 8)
    Path("param_dict.json").write_text(json.dumps(PARAMS))
    content = plain(data__discs={"file": "discs.npz", "least_correlation": 1.0}, arms=OTSU | arms)
    content["rounds"]["main"] |= {"budgets": [6], "draws": [0, 1], "seeds": [0]}
    content["claims"] = [{"arm": next(iter(arms)), "above": "Otsu", "on": "discs", "at": [6], "score": "f1"}]
    content |= {"cluster": {"kind": "none"}} | changes
    Path("study.yaml").write_text(yaml.safe_dump(content))


def scores(folder: str = "out/study") -> dict[Any, Any]:
    """What the rows scored, without seconds."""
    rows = RowFile(Path(folder) / "rows.csv", FIELDS).read()
    return {row: (values["step"], values["step_dense"], values["f1"], values["ap"]) for row, values in rows.items()}


def page() -> str:
    """The report."""
    return Path("report/report.md").read_text()


@pytest.mark.parametrize(
    "arms",
    [
        QUICK,
        {"end to end": {"method": "network"}},
        {"contrastive start": {"method": "network", "start": "contrastive"}},
        {"frozen": {"method": "quick", "start": "contrastive"}, "random": {"method": "quick"}},
    ],
    ids=["forest", "end to end", "contrastive start", "embeddings"],
)
@pytest.mark.slow
def test_a_study_runs_from_file_to_report(in_tmp, capsys, arms):
    """Each kind of arm learns, is scored on the validation part and, once asked for, on the test part."""
    written(arms)
    assert call(["study", "study.yaml"]) == 0
    rows = scores()
    assert len(rows) == 1 + 2 * len(arms)
    assert all(0 <= float(f1) <= 1 and 0 <= float(ap) <= 1 for *_, f1, ap in rows.values())
    assert "which was not read yet" in page()
    assert "3 of 3 rows" in page() or len(arms) > 1
    assert call(["study", "study.yaml", "--test", "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert next(one["verdict"] for one in said["claims"]) in ("held", "not held", "undecided")
    assert len(RowFile(Path("out/study/test.csv"), TEST_FIELDS).read()) == len(rows)
    assert "(reading 1 of 1)" in page()
    for name in ("k", "seconds", "paired", "gain", "examples"):
        assert Path(f"report/discs-main-{name}.png").stat().st_size > 1000
    assert not list(Path("out/study/trainings").glob("*"))


def test_labels_may_be_patches(in_tmp):
    """A budget of one square, in which every pixel is labelled, is learnt from as well."""
    patches = {"data": ["discs"], "budgets": [1], "draws": [0], "labels": "patches", "patch": 40}
    written(QUICK | {"end to end": {"method": "network"}}, rounds={"main": patches}, claims=[])
    assert call(["study", "study.yaml"]) == 0
    assert {row.arm: row.k for row in scores()} == {"Otsu": 0, "forest": 1, "end to end": 1}


def test_all_labels_are_a_budget(in_tmp):
    """Every pixel of the training images is learnt, and folds leave out whole images; draws are other seeds."""
    everything = {"data": ["discs"], "budgets": ["all"], "draws": [0, 1]}
    written({"end to end": {"method": "network"}}, rounds={"main": everything}, claims=[])
    assert call(["study", "study.yaml"]) == 0
    found = {row: values for row, values in scores().items() if row.k == "all"}
    assert len({values[2:] for values in found.values()}) == len(found) == 2
    assert "all" in page()


@pytest.mark.parametrize("arms", [QUICK, {"contrastive start": {"method": "network", "start": "contrastive"}}])
def test_a_volume_is_learnt_and_scored_in_3d(in_tmp, capsys, arms):
    """Regions are volumes: seen by a network, or by Gaussian features, in 3D, cut into bodies and scored as a whole."""
    deep = {"in_shape": [20, 20, 20], "num_fmaps": 2, "downsample_factors": [[2, 2, 2]]}
    ranges = {"train": [0, 16, 1], "validate": [18, 24, 1], "test": [26, 32, 1]}
    data = {"file": "discs.npz", "kind": "membranes", "dims": 3, "divided": "ranges", "ranges": ranges}
    some = {"data": ["discs"], "budgets": [6], "draws": [0]}
    written(arms | {"none": {"method": "none"}}, data={"discs": data}, rounds={"main": some}, claims=[])
    raw, _, labels = labelled_image((32, 48, 48), spacing=14)
    np.savez("discs.npz", raw=raw, labels=labels)
    Path("param_dict.json").write_text(json.dumps(PARAMS | {"model": deep}))
    assert call(["study", "study.yaml"]) == 0
    assert call(["study", "study.yaml", "--test"]) == 0
    assert all(float(one["voi"]) >= 0 for one in RowFile(Path("out/study/test.csv"), TEST_FIELDS).read().values())
    assert Path("report/discs-main-examples.png").stat().st_size > 1000
    Path("param_dict.json").write_text(json.dumps(PARAMS))
    assert call(["study", "study.yaml"]) == 2
    assert "discs is seen in 3D; got [32, 32]" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.slow
def test_simulated_users_click_through_the_session(in_tmp):
    """Each user is an arm of a round of clicks, whose rows are scored, tested and gone on with as any other."""
    users = {user: {"method": "session", "user": user} for user in ("mends", "follows")}
    written(users | QUICK, output="out/whole", rounds={"main": CLICKS})
    assert call(["study", "study.yaml"]) == 0
    assert call(["study", "study.yaml", "--test"]) == 0
    rows = RowFile(Path("out/whole/rows.csv"), FIELDS).read()
    assert len(rows) == 1 + 3 * 2 * 2
    spent = [float(values["seconds"]) for row, values in rows.items() if row.arm == "mends" and row.draw == 1]
    assert spent[0] < spent[1]  # of 12 clicks the session has answered 6 before
    assert len(list(Path("out/whole/clicks").iterdir())) == 2 * 2
    written(users | QUICK, rounds={"main": CLICKS})
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", DIE], env=environment, capture_output=True, check=False)
    assert call(["study", "study.yaml"]) == 0
    assert scores() == scores("out/whole")


def test_a_network_learns_what_a_user_clicked(in_tmp):
    """An arm with a user trains on the clicks of that user, in images of the draw."""
    written({"n, then end to end": {"method": "network", "user": "follows"}}, rounds={"main": CLICKS}, claims=[])
    assert call(["study", "study.yaml"]) == 0
    assert len(scores()) == 1 + 4
    assert len(list(Path("out/study/clicks").iterdir())) == 2


def test_networks_have_steps_that_folds_and_dense_labels_chose(in_tmp):
    """A network's row tells both steps, each a checkpoint of the training, and its seconds; both are kept."""
    written({"end to end": {"method": "network"}})
    assert call(["study", "study.yaml"]) == 0
    networks = [one for row, one in RowFile(Path("out/study/rows.csv"), FIELDS).read().items() if row.k]
    assert {one["steps"] for one in networks} == {"4"}
    assert {one["step"] for one in networks} | {one["step_dense"] for one in networks} <= {"2", "4"}
    assert all(float(one["seconds"]) > 0 and float(one["seconds_folds"]) > 0 for one in networks)
    assert len(list(Path("out/study/kept").iterdir())) == 4


@pytest.mark.parametrize("arms", [QUICK, {"end to end": {"method": "network"}}], ids=["forest", "end to end"])
@pytest.mark.slow
def test_a_killed_study_goes_on_with_the_rows_that_are_missing(in_tmp, arms):
    """Killed while it runs its third row, it keeps two and runs only the third, and all score as undisturbed."""
    written(arms, output="out/whole")
    assert call(["study", "study.yaml"]) == 0
    written(arms)
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    killed = subprocess.run([sys.executable, "-c", DIE], env=environment, capture_output=True, text=True)
    assert killed.returncode == 9, killed.stderr
    kept = Path("out/study/rows.csv").read_bytes()
    assert len(scores()) == 2
    assert call(["study", "study.yaml"]) == 0
    assert Path("out/study/rows.csv").read_bytes().startswith(kept)
    assert scores() == scores("out/whole")


@pytest.mark.slow
def test_workers_take_rows_in_their_order(in_tmp):
    """A study that is cut off is balanced on workers too: one of them ends no row long before an earlier one."""
    written(QUICK, cluster={"kind": "local", "workers": 1, "dashboard": False})
    content = yaml.safe_load(Path("study.yaml").read_text())
    content["rounds"]["main"] |= {"draws": [0, 1, 2, 3], "seeds": [0, 1, 2]}
    Path("study.yaml").write_text(yaml.safe_dump(content))
    assert call(["study", "study.yaml"]) == 0
    done = list(RowFile(Path("out/study/rows.csv"), FIELDS).read())
    seeds = [row.seed for row in done if row.k]
    assert len(seeds) == 12
    assert seeds == sorted(seeds)


@pytest.mark.parametrize("arms", [QUICK, NETWORKS], ids=["forest", "networks"])
@pytest.mark.slow
def test_a_study_on_workers_scores_the_same(in_tmp, arms):
    """Two rows at once on Dask workers give the rows of one process; two trainings there do not touch each other."""
    written(arms, output="out/here")
    assert call(["study", "study.yaml"]) == 0
    written(arms, cluster={"kind": "local", "workers": 2, "dashboard": False})
    assert call(["study", "study.yaml"]) == 0
    assert scores() == scores("out/here")
    assert call(["study", "study.yaml", "--test"]) == 0
    there = Path("out/study/test.csv").read_text().splitlines()
    written(arms, output="out/here")
    assert call(["study", "study.yaml", "--test"]) == 0
    assert sorted(there) == sorted(Path("out/here/test.csv").read_text().splitlines())
    assert "Rows were computed on " in page()


def test_test_data_are_read_once(in_tmp, capsys):
    """A second reading is refused, and one while rows are missing; told to, it is done, and the report says so."""
    written(QUICK)
    for told in (["--test"], ["--test", "--incomplete"], ["--report"]):
        assert call(["study", "study.yaml", *told]) == 2
        assert "no row is there; got 0, wanted 3" in capsys.readouterr().err
        assert not Path("out").exists()
        assert not Path("report").exists()
    assert call(["study", "study.yaml"]) == 0
    whole = Path("out/study/rows.csv").read_bytes()
    Path("out/study/rows.csv").write_bytes(whole[: whole.rindex(b"\n", 0, -1) + 1])
    assert call(["study", "study.yaml", "--test"]) == 2
    assert "rows are missing; got 1" in capsys.readouterr().err
    assert not Path("out/study/test.csv").exists()
    Path("out/study/rows.csv").write_bytes(whole)
    assert call(["study", "study.yaml", "--test"]) == 0
    before = Path("out/study/test.csv").read_bytes()
    assert call(["study", "study.yaml", "--test"]) == 2
    assert "was read before" in capsys.readouterr().err.replace("were", "was")
    assert "more than once" not in page()
    Path("out/study/test.csv").write_bytes(before[: before.rindex(b"\n", 0, -1) + 1])  # as if it had been cut off
    assert call(["study", "study.yaml", "--test"]) == 0
    assert Path("out/study/test.csv").read_text().count("\n") == before.count(b"\n")
    assert "cut off, and gone on with at" in page()
    assert "more than once" not in page()
    before = Path("out/study/test.csv").read_bytes()
    assert call(["study", "study.yaml", "--test", "--again"]) == 0
    assert "**The test data were read more than once.**" in page()
    assert Path("out/study/test.csv").read_bytes() == before


def test_an_incomplete_study_is_tested_only_when_told(in_tmp):
    """What is missing then is said, as in a report of what is there; a claim whose draws are missing is undecided."""
    written(QUICK)
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", DIE], env=environment, capture_output=True, check=False)
    assert call(["study", "study.yaml", "--report"]) == 0
    assert "2 of 3 rows are there" in page()
    assert len(scores()) == 2
    assert call(["study", "study.yaml", "--test", "--incomplete"]) == 0
    assert "while 1 rows were missing" in page()
    assert "undecided: 1 draws are missing" in page()


def test_changed_claims_are_told(in_tmp):
    """A claim that was changed after the first row does not pass for one made before."""
    written(QUICK)
    assert call(["study", "study.yaml"]) == 0
    assert "The claims stood before the first row" in page()
    assert "were changed since" not in page()
    content = yaml.safe_load(Path("study.yaml").read_text())
    content["claims"][0]["by"] = -1.0
    Path("study.yaml").write_text(yaml.safe_dump(content))
    assert call(["study", "study.yaml"]) == 0
    assert "were changed since" in page()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"claims": [{"arm": "woods", "above": "Otsu", "on": "discs", "at": [6], "score": "f1"}]}, "no 'woods'"),
        ({"params": "none.json"}, "none.json: no such file"),
        ({"data": {"discs": {"file": "none.npz"}}}, "none.npz: no such file"),
        ({"output": "discs.npz/out"}, "is a file"),
        ({"arms": {"forest": {"method": "network", "seg": {"lr": [1e-3, 1e-4]}}}}, "is a grid"),
        ({"arms": {"forest": {"method": "network", "seg": {"rate": 1}}}}, "unknown key"),
        ({"arms": {"forest": {"method": "network", "params": "own.json"}}}, "own.json: no such file"),
        ({"rounds": {"main": {"data": ["discs"], "budgets": [6, 10**6], "draws": [0]}}}, "too few pixels"),
        ({"rounds": {"main": {"data": ["discs"], "budgets": [6, 2], "draws": [0]}}}, "fewer labels than classes"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(in_tmp, capsys, change, fault):
    """Exit code 2, one line, and not a file more than before."""
    written(QUICK | change.pop("arms", {}), **change)
    before = sorted(Path().rglob("*"))
    assert call(["study", "study.yaml"]) == 2
    said = capsys.readouterr().err.strip()
    assert fault in said
    assert "\n" not in said
    assert sorted(Path().rglob("*")) == before


def test_rows_of_other_settings_are_refused(in_tmp, capsys):
    """What was run with another network, or other data, is not mixed with what is run now."""
    written(QUICK)
    assert call(["study", "study.yaml"]) == 0
    written(QUICK | {"forest": QUICK["forest"] | {"head": "logistic"}})
    assert call(["study", "study.yaml"]) == 2
    assert "holds rows of other settings (forest on discs)" in capsys.readouterr().err


def test_flags_of_testing_need_the_test(in_tmp, capsys):
    """`--again` alone would mean nothing."""
    written(QUICK)
    assert call(["study", "study.yaml", "--again"]) == 2
    assert "works only together with --test" in capsys.readouterr().err


def test_help_loads_nothing_heavy():
    """The list of commands, and the help of this one, come without torch, dask, scikit-learn or matplotlib."""
    script = "import sys; from contraband.cli import call; call(['study', '--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {
        "torch",
        "dask",
        "sklearn",
        "matplotlib",
        "zarr",
        "scipy",
        "contraband.experiments.study.settings",
    }
