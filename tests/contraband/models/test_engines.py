"""Programs that compute a checkpoint: the same values up to rounding, the same bytes whatever threads and blocks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import contraband as cb
from blockwise.arrays.volume import Volume, info, open_array
from blockwise.engine.fingerprint import fingerprint
from blockwise.errors import BadInput, Stale
from contraband.models.engines.openvino import computes_in
from contraband.models.predictor import Predictor, load_predictor
from contraband.volumes.line import stages
from contraband.volumes.settings import VolumeSettings
from tests.contraband.volumes.test_foreground import OFFSETS, SHAPE, untrained
from tests.contraband.volumes.test_foreground import settings as predicted
from tests.support.paths import ROOT
from tests.support.volumes import digest, whole


def with_engine(chosen: VolumeSettings, name: str, **model: object) -> VolumeSettings:
    """The same volume into an output of its own, in this process."""
    assert chosen.model is not None
    content = chosen.model_dump(mode="json", exclude_defaults=True)
    content["model"] |= model
    content |= {"output": str(chosen.output.with_name(f"{name}.zarr")), "cluster": {"kind": "none"}}
    return VolumeSettings.parse(content, "test")


def affinities(chosen: VolumeSettings) -> Volume:
    """What predict stores."""
    cb.run(chosen, last="predict", progress=False)
    return Volume(path=chosen.output / "affinities")


@pytest.mark.parametrize(("precision", "most", "in_mean"), [("float32", 1, 0.1), ("int8", 255, 5)])
def test_openvino_gives_the_bytes_of_no_thread_and_no_block(
    precision: str, most: float, in_mean: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one, two and four threads, and for blocks that tiles overhang; within a step of torch, if in floats."""
    pytest.importorskip("openvino", reason="openvino is not installed")
    from contraband.volumes.predictors import cached_predictor

    digests = set()
    for number, (threads, block) in enumerate([(1, SHAPE), (2, (8, 10, 12)), (4, (5, 20, 9))]):
        monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
        cached_predictor.cache_clear()
        chosen = with_engine(predicted(tmp_path, "x", 3, block), str(number), engine="openvino", precision=precision)
        digests.add(digest(affinities(chosen)))
    assert len(digests) == 1
    torch = whole(affinities(with_engine(predicted(tmp_path, "x", 3), "torch")))
    found = whole(Volume(path=tmp_path / "0.zarr" / "affinities"))
    apart = np.abs(found.astype(int) - torch)
    assert apart.max() <= most
    assert apart.mean() <= in_mean
    assert found.std() > 10


@pytest.mark.parametrize("augment", ["none", "flips"])
def test_ranges_are_measured_once_and_stored_with_the_prediction(augment: str, tmp_path: Path) -> None:
    """Blocks that are finished were computed with them; what is made anew is measured anew. The report says how far."""
    pytest.importorskip("openvino", reason="openvino is not installed")
    chosen = with_engine(predicted(tmp_path, "x", 3), "a", engine="openvino", precision="int8", augment=augment)
    made = affinities(chosen)
    first = info(made).attributes["int8"]
    assert json.loads((chosen.output / "report.json").read_text())["stages"]["predict"]["int8"] == first
    assert 0 < first["mean_difference"] < 0.02
    other = {**first, "ranges": [[low, 2 * high] for low, high in first["ranges"]]}
    open_array(made, "r+").attrs["int8"] = other
    affinities(chosen)
    assert info(made).attributes["int8"] == other
    before = digest(made)
    cb.run(chosen, redo="predict", last="predict", progress=False)
    assert info(made).attributes["int8"] == first
    assert digest(made) == before


@pytest.mark.parametrize(
    "changed",
    [
        {"engine": "torch"},
        {"engine": "auto"},
        {"engine": "openvino", "output": "embeddings"},
        {"engine": "openvino", "network": "net.onnx", "checkpoint": None},
    ],
)
def test_integers_are_for_a_checkpoint_in_openvino(changed: dict[str, Any], tmp_path: Path) -> None:
    """Anything else is refused in one line, before a file is read."""
    with pytest.raises(BadInput, match="int8 is for affinities of one checkpoint, with engine: openvino"):
        with_engine(predicted(tmp_path, "x", 3), "a", precision="int8", **changed)


def test_a_processor_without_integers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is written."""
    pytest.importorskip("openvino", reason="openvino is not installed")
    from contraband.models.engines import openvino

    monkeypatch.setattr(openvino, "computes_in", lambda precision: precision != "int8")
    chosen = with_engine(predicted(tmp_path, "x", 3), "a", engine="openvino", precision="int8")
    with pytest.raises(BadInput, match="precision: this processor does not compute in int8"):
        affinities(chosen)
    assert not chosen.output.exists()


def test_values_differ_by_rounding(tmp_path: Path) -> None:
    """Less than 1e-4 of 1 in float32, which is 2 % of a step of what is stored."""
    pytest.importorskip("openvino", reason="openvino is not installed")
    checkpoint = untrained(tmp_path / "net.pt", len(OFFSETS))
    one, other = (load_predictor(checkpoint, "affinities", "cpu", engine=engine) for engine in ("torch", "openvino"))
    raw = np.random.default_rng(1).integers(0, 256, one.input_shape((8, 8, 8))).astype(np.uint8)
    assert 0 < np.abs(one(raw) - other(raw)).max() < 1e-4


def test_a_converted_network_is_kept_and_read(tmp_path: Path) -> None:
    """One folder for the one tile; what is read from it says the same, and later runs compute by it."""
    pytest.importorskip("openvino", reason="openvino is not installed")
    from contraband.volumes.predictors import cached_predictor

    chosen = with_engine(predicted(tmp_path, "x", 3), "a", engine="openvino")
    cached_predictor.cache_clear()
    found = whole(affinities(chosen))
    (kept,) = [path for path in (chosen.output / "networks").iterdir() if path.is_dir()]
    checkpoint = tmp_path / "3.pt"
    alone = load_predictor(checkpoint, "affinities", "cpu", engine="openvino")
    again = load_predictor(checkpoint, "affinities", "cpu", engine="openvino")
    again.compute_in_openvino(chosen.output / "networks")
    raw = np.random.default_rng(1).integers(0, 256, alone.input_shape((8, 8, 8))).astype(np.uint8)
    assert np.abs(alone(raw) - again(raw)).max() < 1e-6
    assert found.std() > 10
    (kept / "network.xml").write_text("no network")
    broken = load_predictor(checkpoint, "affinities", "cpu", engine="openvino")
    broken.compute_in_openvino(chosen.output / "networks")
    with pytest.raises(BadInput, match="OpenVINO does not take it"):
        broken(raw)


DROPPED = """
import faulthandler, gc, signal, threading
import numpy as np
import torch
from contraband.models.engines.openvino import convert_torch

faulthandler.enable()
signal.signal(signal.SIGUSR1, lambda number, frame: print("told"))
engines = [convert_torch(torch.nn.Conv2d(1, 1, 3))]
engines[0](np.zeros((1, 1, 16, 16), np.float32))
thread = threading.Thread(target=lambda: (engines.clear(), gc.collect()))
thread.start()
thread.join()
signal.raise_signal(signal.SIGUSR1)
print("alive")
"""


def test_a_process_outlives_a_network_that_another_thread_drops() -> None:
    """OpenVINO would take the stack away on which the first thread hears signals, as of a child that ended."""
    pytest.importorskip("openvino", reason="openvino is not installed")
    done = subprocess.run([sys.executable, "-c", DROPPED], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.split()) == (0, ["told", "alive"]), done.stderr


CONVERTED = """
import os, sys
import numpy as np
import torch
from contraband.models.engines.openvino import convert_torch

forks = []
os.register_at_fork(before=lambda: forks.append(1))
convert_torch(torch.nn.Conv2d(1, 1, 3))(np.zeros((1, 1, 16, 16), np.float32))
print(len(forks), sorted(os.listdir(os.environ["HOME"])))
"""


def test_a_conversion_is_told_to_nobody(tmp_path: Path) -> None:
    """OpenVINO's own would send a message from a forked process, and keep a name for the user in their home."""
    pytest.importorskip("openvino", reason="openvino is not installed")
    environment = {key: value for key, value in os.environ.items() if key not in ("CI", "TF_BUILD", "JENKINS_URL")}
    environment |= {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", CONVERTED], env=environment, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "0 []\n"), done.stderr


def test_the_engine_is_part_of_what_a_prediction_is_remembered_by(tmp_path: Path) -> None:
    """Torch, which there always was, is not told; blocks of torch are stale for openvino."""
    pytest.importorskip("openvino", reason="openvino is not installed")
    plain = with_engine(predicted(tmp_path, "x", 3), "a")
    assert "predict.engine" not in fingerprint(stages(plain)[0], {})[1]
    affinities(plain)
    with pytest.raises(Stale, match=r"engine was unset, is now .openvino"):
        affinities(with_engine(plain, "a", engine="openvino"))


def test_auto_is_measured_once_and_stored_with_the_prediction(tmp_path: Path) -> None:
    """The report says which engine it was and why; later runs take what is stored, whatever they would measure."""
    pytest.importorskip("openvino", reason="openvino is not installed")
    chosen = with_engine(predicted(tmp_path, "x", 3), "a", engine="auto")
    made = affinities(chosen)
    engine = stages(chosen)[0].engine
    reported = json.loads((chosen.output / "report.json").read_text())["stages"]["predict"]["engine"]
    assert reported == info(made).attributes["engine"]
    assert reported["engine"] == engine
    assert "a tile takes" in reported["why"]
    told = with_engine(predicted(tmp_path, "x", 3), "b", engine=engine)
    assert digest(affinities(told)) == digest(made)
    other = {"torch": "openvino", "openvino": "torch"}[engine]
    open_array(made, "r+").attrs["engine"] = {**reported, "engine": other}
    assert stages(chosen)[0].engine == other
    assert stages(with_engine(chosen, "a", tile=[8, 8, 16]))[0].engine_choice.measured != reported["measured"]
    assert "engine" not in info(affinities(with_engine(chosen, "c", engine="torch"))).attributes


@pytest.mark.parametrize(
    ("tile", "part"),
    [((64, 64, 64), (64, 64, 64)), ((128, 252, 252), (64, 63, 63)), ((1, 4096, 256), (1, 1024, 256))],
)
def test_little_is_computed_to_measure(tile: tuple[int, int, int], part: tuple[int, int, int]) -> None:
    """The tiles of a large memory are most of a small volume, and measuring on them took longer than predicting it."""
    from contraband.models.engines import choice

    assert choice.trimmed(tile) == part


def test_auto_is_torch_where_values_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By more than is allowed, however fast OpenVINO is; here nothing is allowed."""
    pytest.importorskip("openvino", reason="openvino is not installed")
    from contraband.models.engines import choice

    checkpoint = untrained(tmp_path / "net.pt", len(OFFSETS))
    monkeypatch.setattr(choice, "ALIKE", 0.0)
    choice.measure.cache_clear()
    engine, precision, why = choice.measure(checkpoint, "affinities", 1, "float32", (8, 8, 8))
    choice.measure.cache_clear()
    assert (engine, precision) == ("torch", "")
    assert "values of OpenVINO in float32 differ by" in why


def test_auto_is_the_fastest_of_all_precisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that the processor has, or of the one that is told; OpenVINO computes in what was chosen."""
    pytest.importorskip("openvino", reason="openvino is not installed")
    from contraband.models.engines import choice

    taken = {"torch": 3.0, "float32": 2.0, "bfloat16": 1.0}

    def seconds(predictor: Predictor, raw: object) -> float:
        engine = predictor._engine
        return taken["torch" if engine is None else engine._precision]

    monkeypatch.setattr(choice, "_seconds", seconds)
    has = computes_in("bfloat16")
    expected = {"auto": "bfloat16" if has else "float32", "float32": "float32", "bfloat16": "bfloat16" if has else ""}
    for number, (told, precision) in enumerate(expected.items()):
        choice.measure.cache_clear()
        stage = stages(with_engine(predicted(tmp_path, "x", 3), str(number), engine="auto", precision=told))[0]
        engine = "openvino" if precision else "torch"
        assert (stage.engine, stage.precision) == (engine, precision or told)
        assert (stage.engine_choice.engine, stage.engine_choice.precision) == (engine, precision)
    choice.measure.cache_clear()


def test_openvino_computes_a_checkpoint_in_bfloat16(tmp_path: Path) -> None:
    """Values differ as those of torch do, whatever the blocks; a processor without it refuses."""
    pytest.importorskip("openvino", reason="openvino is not installed")
    how = {"engine": "openvino", "precision": "bfloat16"}
    chosen = with_engine(predicted(tmp_path, "x", 3), "a", **how)
    if not computes_in("bfloat16"):
        with pytest.raises(BadInput, match=r"precision: this processor does not compute in bfloat16"):
            cb.run(chosen, progress=False)
        assert not chosen.output.exists()
        return
    found = whole(affinities(chosen)).astype(int)
    exact = whole(affinities(with_engine(chosen, "b", precision="float32"))).astype(int)
    assert 0 < np.abs(found - exact).max() <= 8
    assert np.abs(found - exact).mean() < 1
    other = with_engine(predicted(tmp_path, "x", 3, (5, 20, 9)), "c", **how)
    assert digest(affinities(other)) == digest(affinities(chosen))


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"precision": "float32", "device": "cuda"}, "device: openvino computes on a CPU"),
    ],
)
def test_what_openvino_does_not_do_is_refused(tmp_path: Path, told: dict[str, str], message: str) -> None:
    """Before anything is written, whether or not it is installed."""
    chosen = with_engine(predicted(tmp_path, "x", 3), "a", engine="openvino", **told)
    with pytest.raises(BadInput, match=message):
        cb.run(chosen, progress=False)
    assert not chosen.output.exists()
