"""Reading `param_dict.json`: comments, sums, grids, migrations, and one line for every fault."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from blockwise.errors import BadInput
from blockwise.settings import read_yaml
from contraband.experiments.params import load_params, parse_params, settings_hash
from contraband.samples.arithmetic import parse_number
from contraband.training.settings import SegSettings
from tests.house.sources import tracked
from tests.support.paths import ROOT

MODEL = {"in_shape": [84, 84, 84], "num_fmaps": 2}
CONTRASTIVE = {"data_file": ["a.zarr"], "dataset": [["train/raw"]]}
SEG = {"data_file": ["a.zarr"], "dataset": [{"train": {"raw": "raw", "gt": "gt"}}], "baseline": [True]}


def test_comments_and_trailing_commas_are_dropped_outside_texts_only(tmp_path):
    """A `#` or a comma inside a text stays; tabs may indent."""
    path = tmp_path / "param_dict.json"
    path.write_text('{\t"a": "x # y, ]", # comment "with" quotes\n\t"b": [1, 2,],# more\n}')
    assert read_yaml(path, tabs_are_spaces=True) == {"a": "x # y, ]", "b": [1, 2]}


@pytest.mark.parametrize("name", [name for name in tracked() if name.endswith("param_dict.json")])
def test_shipped_files_say_the_same_as_json(name):
    """Without its comments each shipped file is JSON, and the YAML loader reads the same data."""
    text = (ROOT / name).read_text(encoding="utf-8")
    bare = re.sub(r'("(?:\\.|[^"\\\n])*")|#[^\n]*', lambda match: match.group(1) or "", text)
    bare = re.sub(r'("(?:\\.|[^"\\\n])*")|,(?=\s*[}\]])', lambda match: match.group(1) or "", bare)
    assert read_yaml(ROOT / name, tabs_are_spaces=True) == json.loads(bare)


@pytest.mark.parametrize(
    ("text", "value"),
    [("pi / 2", math.pi / 2), ("-pi", -math.pi), ("2*(1+3)", 8), ("1e-3", 1e-3), ("7 - 2 - 1", 4), ("8/2/2", 2)],
)
def test_sums_are_read(text, value):
    """Sums have the value they have on paper."""
    assert parse_number(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "pi 2", "__import__('os')", "1/0", "2**3", "(1", "1)", "e", "1e999", "(" * 500])
def test_what_is_no_sum_is_refused(text):
    """Anything else is a fault, never evaluated."""
    with pytest.raises(ValueError, match=r".+"):
        parse_number(text)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('{\n"a": 1\n"b": 2}', "line 3"),
        ("[1]", "not a mapping"),
        ('{"a": 1, "a": 2}', "twice"),
        ('{"model": {"in_shape": [84, 84, 84]}, "contrastive": {"data_file": "a", "dataset": "b", "lr": NaN}}', "NaN"),
        ('{"model": {"in_shape": [84, 84, 84]}, "contrastive": {"lr": .nan}}', "a number that is not finite"),
    ],
)
def test_broken_files_are_one_line(text, part, tmp_path):
    """What is wrong and where, in one line."""
    path = tmp_path / "param_dict.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=part) as caught:
        load_params(path)
    assert "\n" not in str(caught.value)


def test_the_first_grid_is_contrastive_options_times_models():
    """Three by two makes six, contrastive options outermost, and seg options are apart."""
    data = {
        "model": [MODEL, MODEL | {"num_fmaps": 3}],
        "contrastive": CONTRASTIVE | {"lr": [1, 2, 3]},
        "seg": SEG | {"lr": [0.1, 0.2], "batch_size": [1, 2]},
    }
    params = parse_params(data, "f")
    found = [(c.index, c.contrastive.lr, c.model.num_fmaps) for c in params.combinations]
    assert found == [(0, 1, 2), (1, 1, 3), (2, 2, 2), (3, 2, 3), (4, 3, 2), (5, 3, 3)]
    assert [(s.lr, s.batch_size) for s in params.seg] == [(0.1, 1), (0.1, 2), (0.2, 1), (0.2, 2)]
    with pytest.raises(BadInput, match="0 to 5"):
        params.combination(6)


def test_the_order_of_keys_in_the_file_changes_no_number():
    """Combinations keep their index when keys of a section change places."""
    seg = SEG | {"lr": [0.1, 0.2], "batch_size": [1, 2]}
    turned = dict(reversed(seg.items()))
    assert parse_params({"model": MODEL, "seg": seg}, "f") == parse_params({"model": MODEL, "seg": turned}, "f")


def test_without_a_contrastive_section_there_are_models_only():
    """Baselines need no contrastive settings."""
    assert [c.contrastive for c in parse_params({"model": [MODEL], "seg": SEG}, "f").combinations] == [None]


@pytest.mark.parametrize("name", ["example/EXP1-seed", "fib25/EXP1-affinities", "dsb/EXP1-affinities"])
def test_shipped_experiments_load(name):
    """The experiments of the project are accepted as they are."""
    assert load_params(next((ROOT / "experiments").glob(name + "*")) / "param_dict.json").combinations


def test_the_example_of_the_seed_means_what_it_says():
    """Sums are read, and the two numbers of points make two seg combinations."""
    params = load_params(next((ROOT / "experiments" / "example").iterdir()) / "param_dict.json")
    contrastive = params.combination(0).contrastive
    assert contrastive.elastic_params.rotation_interval == (0, math.pi / 2)
    assert [settings.num_points for settings in params.seg] == [16, 32]
    assert params.seg[0].offsets_for(2) == ((0, -1, 0), (0, 0, -1))


def test_basline_is_read_with_a_warning(caplog):
    """The misspelling of the original is understood, and said."""
    seg = {("basline" if key == "baseline" else key): value for key, value in SEG.items()}
    assert parse_params({"model": [MODEL], "seg": seg}, "f").seg[0].baseline
    assert "basline" in caplog.text


def test_files_of_the_original_are_read_with_a_warning_for_each_difference(caplog):
    """Class names of heads, epochs that did nothing, and embeddings in the place of raw."""
    volumes = {"train": {"raw": "train/raw", "gt": "train/gt"}, "validate": {"raw": "embs", "gt": "validate/gt"}}
    old = {
        "model": [MODEL],
        "contrastive": CONTRASTIVE,
        "save_embs": {"datasets": ["train/raw", "validate/raw"], "data_file": ["a.zarr"]},
        "seg": {
            "data_file": ["a.zarr"],
            "dataset": [volumes],
            "epochs": [3],
            "basline": [False, True],
            "seg_head": ["SimpleSegHead", "SparseSegHead"],
        },
    }
    seg = parse_params(old, "f").seg
    assert [(one.seg_head, one.baseline) for one in seg] == [
        ("Simple", False),
        ("Sparse", False),
        ("Simple", True),
        ("Sparse", True),
    ]
    assert seg[0].dataset.validate_.raw == "validate/raw"
    assert len(caplog.records) == 4
    for word in ("basline", "epochs", "SimpleSegHead", "'embs', is read as 'validate/raw'"):
        assert word in caplog.text
    with pytest.raises(BadInput, match="save_embs names no raw"):
        parse_params({key: value for key, value in old.items() if key != "save_embs"}, "f")


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"modle": []}, "modle: unknown key"),
        ({"model": []}, "model"),
        ({"seg": SEG | {"learning_rate": [1]}}, "seg.learning_rate: unknown key"),
        ({"seg": SEG | {"lr": []}}, "seg.lr: lists no option"),
        ({"seg": SEG | {"lr": [-1]}}, "seg: lr"),
        ({"seg": SEG | {"num_points": [3]}}, "num_points must be even"),
        (
            {"seg": SEG | {"dataset": [{"train": {"raw": "raw"}}], "points": ["a.csv"]}},
            "the pipeline standard needs labels, dataset.train.gt; for points: baseline_sparse_sh",
        ),
        ({"seg": SEG | {"seg_out_channels": [2]}}, "seg_out_channels is 2"),
        ({"seg": SEG | {"elastic_params": [{"rotation_interval": [0, "tau"]}]}}, "rotation_interval"),
        ({"seg": {key: value for key, value in SEG.items() if key != "data_file"}}, "data_file: missing key"),
        ({"model": [MODEL | {"kernel_size_down": [[[3, 3, 3]]]}]}, "need 4"),
        ({"model": [MODEL | {"downsample_factors": [[2, 2]]}]}, "dimensions"),
        ({"model": [{"in_shape": [4]}]}, "in_shape"),
        ({"pipeline": "dense"}, "pipeline"),
        ({"pipeline": "sparse_sh"}, "baseline_sparse_sh"),
    ],
)
def test_faults_are_named(change, part):
    """Every fault names its key and says what is wanted, in one line."""
    with pytest.raises(BadInput) as caught:
        parse_params({"model": [MODEL], "seg": SEG} | change, "f")
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_what_is_learnt_changes_the_hash():
    """More iterations, other thresholds and defaults written out leave the hash; another rate or data file do not."""

    def hashed(**change) -> str:
        return settings_hash(parse_params({"model": [MODEL], "seg": SEG | change}, "f").seg[0])

    assert hashed() == hashed(num_iterations=[7], thresholds=[[0.1]], lr=[1e-4])
    assert len({hashed(), hashed(lr=[0.5]), hashed(data_file=["b.zarr"])}) == 3


def test_a_missing_file_is_bad_input(tmp_path: Path):
    """No traceback for a wrong path, nor for a file that is not text."""
    with pytest.raises(BadInput, match="no such file"):
        load_params(tmp_path / "param_dict.json")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="cannot be read"):
        load_params(tmp_path / "binary")
    (tmp_path / "good.json").write_text(json.dumps({"model": [MODEL]}))
    assert load_params(tmp_path / "good.json").seg == ()


def test_one_file_of_points_has_the_hash_it_always_had():
    """So a training from before there could be several files goes on; two files are another training."""
    data = {"data_file": ["d.zarr"], "dataset": {"train": {"raw": "raw"}}}
    hashes = [settings_hash(SegSettings.parse(data | {"points": files}, "test")) for files in ("a.csv", ["a.csv", "b"])]
    assert hashes[0] == "5be6c274998d37d8"
    assert hashes[1] != hashes[0]
