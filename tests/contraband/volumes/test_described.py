"""Networks that come with a description of bioimage.io: to segments with what it says, or refused in a line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blockwise.arrays.volume import Volume
from contraband.volumes.described import with_description
from contraband.volumes.settings import Model
from tests.support.descriptions import Change, changed, described_network, packed_network
from tests.support.network_files import affinities_from, expected, refuse, settings, store_raw
from tests.support.volumes import digest, whole

UNTOLD: dict[str, Any] = {"context": None, "output": None}
"""Keys that settings of other networks need."""


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A folder with raw of bright cells between dark membranes."""
    return store_raw(tmp_path)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_description_goes_to_segments_by_one_settings_file(scene: Path, engine: str) -> None:
    """All bytes are those of settings that say the same of the ONNX file, whether it is packed or not."""
    pytest.importorskip(engine, reason=f"{engine} is not installed")
    described = described_network(scene / "described")
    told = settings(scene, scene / "described" / "net.onnx", "told", engine=engine)
    found = affinities_from(told)
    assert np.abs(found.astype(int) - expected(scene)).max() <= 1
    assert whole(Volume(path=told.output / "segments" / "0.5")).max() > 0
    for name, network in {"described": described, "packed": packed_network(scene / "packed")}.items():
        chosen = settings(scene, network, name, engine=engine, **UNTOLD)
        affinities_from(chosen)
        for array in ("affinities", "segments/0.5"):
            assert digest(Volume(path=chosen.output / array)) == digest(Volume(path=told.output / array))


def test_what_settings_say_goes_before(tmp_path: Path) -> None:
    """Only keys that are not given are taken from the description, of `input` one by one."""
    network = described_network(tmp_path)
    told = {"context": [2, 3, 4], "output": "embeddings", "input": {"normalise": {"factor": 0.25}}}
    model, _ = with_description(Model.parse({"network": str(network), **told}, "model"))
    assert (model.context, model.output) == ((2, 3, 4), "embeddings")
    assert (model.input.normalise.factor, model.input.axes) == (0.25, "bczyx")
    assert (model.network, model.stride) == (tmp_path / "net.onnx", (1, 1, 1))


def test_a_file_that_is_no_description_is_left_as_it_is(tmp_path: Path) -> None:
    """Settings are those that were given."""
    model = Model.parse({"network": str(tmp_path / "net.onnx")}, "model")
    assert with_description(model) == (model, None)


def _of_torch(content: dict[str, Any]) -> None:
    entry = content["weights"].pop("onnx") | {"pytorch_version": "2.6.0"}
    del entry["opset_version"]
    content["weights"]["torchscript"] = entry


def _in_time(content: dict[str, Any]) -> None:
    for tensor in (content["inputs"][0], content["outputs"][0]):
        tensor["axes"][2].update(type="time", id="time")
    content["outputs"][0]["axes"][2]["size"]["axis_id"] = "time"


def _takes(step: dict[str, Any]) -> Change:
    return lambda content: content["inputs"][0].update(preprocessing=[step])


def _gives(step: dict[str, Any]) -> Change:
    return lambda content: content["outputs"][0].update(postprocessing=[step])


def _sized(tensor: str, axis: int, **told: Any) -> Change:
    return lambda content: content[tensor][0]["axes"][axis].update(told)


REFUSED: dict[str, tuple[Change, str]] = {
    "TorchScript": (_of_torch, "no weights that are used here; got torchscript, wanted onnx; .*bring code"),
    "an address": (
        lambda content: content["weights"]["onnx"].update(source="https://example.com/net.onnx"),
        "weights at an address.*nothing is downloaded",
    ),
    "no weights": (lambda content: content["weights"]["onnx"].update(source="other.onnx"), "not there; got other.onnx"),
    "other weights": (lambda content: content["weights"]["onnx"].update(sha256="0" * 64), "describes another net.onnx"),
    "a meaning": (
        lambda content: content["outputs"][0]["axes"][1].update(channel_names=["probability"]),
        r"does not say what the channels of the network mean; got \['probability'\]; say model.output",
    ),
    "a sigmoid": (_gives({"id": "sigmoid"}), "computes sigmoid after the network"),
    "its own mean": (_takes({"id": "zero_mean_unit_variance"}), "from the image itself.*model.input.normalise"),
    "a threshold": (_takes({"id": "binarize", "kwargs": {"threshold": 3}}), "computes binarize before the network"),
    "an inversion": (_takes({"id": "scale_linear", "kwargs": {"gain": -1}}), "factor.*greater than 0"),
    "channels": (_sized("inputs", 1, channel_names=["a", "b"]), "other channels than one; got 2"),
    "one size": (_sized("inputs", 3, size=64), "tiles of one size along y"),
    "larger voxels": (_sized("outputs", 4, scale=2.0), "gives other voxels along x"),
    "half a voxel": (
        _sized("outputs", 2, size={"tensor_id": "raw", "axis_id": "z", "offset": -3}),
        "not lose as many voxels on both sides along z; got -3",
    ),
    "time": (_in_time, "an axis that is not known here; got time"),
    "another order": (lambda content: content["outputs"][0]["axes"].reverse(), "in another order; got xyzcb"),
    "two outputs": (
        lambda content: content["outputs"].append(content["outputs"][0] | {"id": "again"}),
        r"more than one output; got \['said', 'again'\]",
    ),
    "no model": (lambda content: content.update(inputs=[]), "is no description of a model; got "),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_refused(scene: Path, name: str) -> None:
    """One line that says what to do, and nothing is written."""
    change, message = REFUSED[name]
    network = changed(described_network(scene / "net"), change)
    refuse(settings(scene, network, **UNTOLD), message)


@pytest.mark.parametrize("content", ["", "a: [", "no description", "type: dataset"])
@pytest.mark.parametrize("suffix", [".yaml", ".zip"])
def test_what_is_no_description_is_refused(scene: Path, suffix: str, content: str) -> None:
    """Whatever it is."""
    pytest.importorskip("bioimageio.spec", reason="bioimageio.spec is not installed")
    network = scene / f"net{suffix}"
    network.write_text(content)
    refuse(settings(scene, network, **UNTOLD), f"net{suffix}: ")


def test_a_normalisation_of_the_settings_stands_in_for_one_that_cannot_be_told(tmp_path: Path) -> None:
    """The step of the description is not looked at."""
    network = changed(described_network(tmp_path), REFUSED["its own mean"][0])
    model, _ = with_description(Model.parse({"network": str(network), "input": {"normalise": {"factor": 2}}}, "model"))
    assert model.input.normalise.factor == 2


def test_the_extra_that_is_not_installed_is_named(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    monkeypatch.setitem(sys.modules, "bioimageio", None)
    (scene / "rdf.yaml").write_text("type: model")
    refuse(settings(scene, scene / "rdf.yaml", **UNTOLD), r'is not installed; pip install "contraband\[bioimage\]"')
