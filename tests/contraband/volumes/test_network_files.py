"""Networks that were made elsewhere: from a file to segments, and what is refused before anything is written."""

from __future__ import annotations

import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import contraband as cb
from blockwise.arrays.volume import Volume, info
from blockwise.errors import BadInput
from tests.support.network_files import SHAPE, affinities_from, expected, refuse, settings, store_raw
from tests.support.networks import SCALE, Membranes, exported_file, onnx_file, openvino_file
from tests.support.volumes import NEAREST, digest, whole


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A folder with raw of bright cells between dark membranes."""
    return store_raw(tmp_path)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_an_onnx_file_goes_to_segments_by_one_settings_file(scene: Path, engine: str) -> None:
    """The affinities are those of the network in plain numpy, and the same bytes whatever the blocks."""
    pytest.importorskip(engine, reason=f"{engine} is not installed")
    network = onnx_file(scene / "net.onnx")
    made = [settings(scene, network, str(i), block, engine=engine) for i, block in enumerate([SHAPE, (5, 24, 13)])]
    found = [affinities_from(chosen) for chosen in made]
    assert np.abs(found[0].astype(int) - expected(scene)).max() <= 1
    for name in ("affinities", "segments/0.5"):
        assert len({digest(Volume(path=chosen.output / name)) for chosen in made}) == 1
    assert whole(Volume(path=made[0].output / "segments" / "0.5")).max() > 0
    assert info(Volume(path=made[0].output / "affinities")).offsets == tuple(map(tuple, NEAREST))


def test_a_torch_export_gives_the_same(scene: Path) -> None:
    """A `.pt2` needs torch alone."""
    found = affinities_from(settings(scene, exported_file(scene / "net.pt2")))
    assert np.abs(found.astype(int) - expected(scene)).max() <= 1


def test_the_files_of_openvino_give_the_same(scene: Path) -> None:
    """Two files, of which the other is known by name; what it holds counts as part of the network."""
    network = openvino_file(scene / "net.xml", onnx_file(scene / "net.onnx"))
    chosen = settings(scene, network)
    found = affinities_from(chosen)
    assert np.abs(found.astype(int) - expected(scene)).max() <= 1
    weights = scene / "net.bin"
    weights.write_bytes(np.float32(-SCALE).tobytes() + weights.read_bytes()[4:])
    with pytest.raises(BadInput, match="weights was"):
        cb.run(chosen, progress=False)


def test_a_network_that_pads_is_cropped(scene: Path) -> None:
    """One that gives as many voxels as it gets is used without its border, and says how far it looks."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    network = onnx_file(scene / "net.onnx", pads=1)
    found = affinities_from(settings(scene, network, engine="onnxruntime", context=[1, 2, 3]))
    assert np.abs(found.astype(int) - expected(scene)).max() <= 1


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "channels": ({"output": "foreground+boundary"}, "other channels than foreground.boundary need; got 1, wanted 2"),
    "offsets": ({"output": "affinities", "offsets": [[-1, 0, 0], [0, -1, 0]]}, "got 1, wanted 2 or 3"),
    "context": ({"context": [1, 0, 1]}, r"does not fit the network.* got \[1, 0, 1\]"),
    "axes": ({"input": {"axes": "zyx"}}, "does not take it"),
    "engine": ({"engine": "torch"}, "torch does not read .onnx; .*wanted openvino or onnxruntime"),
    "precision": ({"engine": "onnxruntime", "precision": "bfloat16"}, "float32 only"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_a_network_is_refused(scene: Path, name: str) -> None:
    """One line that names the key, and nothing is written."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    network = onnx_file(scene / "net.onnx")
    changes, message = REFUSED[name]
    refuse(settings(scene, network, **{"engine": "onnxruntime", **changes}), message)


def test_too_little_context_is_refused_with_what_was_measured(scene: Path) -> None:
    """A network that pads would show its tiles."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    network = onnx_file(scene / "net.onnx", pads=1)
    chosen = settings(scene, network, engine="onnxruntime", context=[1, 0, 1])
    refuse(chosen, r"context: is too small.* got \[1, 0, 1\], wanted at least \[1, 1, 1\]")


def test_a_normalisation_over_the_tile_is_refused(scene: Path) -> None:
    """No context would be enough."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    network = onnx_file(scene / "net.onnx", operator="InstanceNormalization")
    refuse(settings(scene, network, engine="onnxruntime", context=[2, 2, 2]), "normalise over the tile")


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_an_unknown_operator_is_refused(scene: Path, engine: str) -> None:
    """By both engines, before the first block."""
    pytest.importorskip(engine, reason=f"{engine} is not installed")
    network = onnx_file(scene / "net.onnx", operator="Convolve")
    refuse(settings(scene, network, engine=engine), "net.onnx: is no network that .* reads .*Convolve")


@pytest.mark.parametrize("suffix", [".pt2", ".onnx", ".xml", ".txt"])
def test_a_file_that_is_no_network_is_refused(scene: Path, suffix: str) -> None:
    """Whatever its ending."""
    for engine in {".onnx": ("openvino",), ".xml": ("openvino",)}.get(suffix, ()):
        pytest.importorskip(engine, reason=f"{engine} is not installed")
    network = scene / f"net{suffix}"
    network.write_text("not a network")
    refuse(settings(scene, network), f"net{suffix}: is no ")


def test_a_pickled_module_is_refused_with_how_to_export_it(scene: Path) -> None:
    """Reading it would run what it says."""
    torch.save(Membranes(), scene / "net.pt")
    refuse(settings(scene, scene / "net.pt"), r"is a pickle.*torch\.export\.save\(")


class _Runs:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_nothing_in_an_export_is_unpickled(scene: Path) -> None:
    """Sample inputs that run what they say do not, although torch would read them with its full unpickler."""
    network = exported_file(scene / "net.pt2")
    evil = scene / "evil.pt2"
    with zipfile.ZipFile(network) as good, zipfile.ZipFile(evil, "w") as bad:
        for name in good.namelist():
            runs = "sample_inputs" in name
            bad.writestr(name, pickle.dumps(_Runs(scene / "was run")) if runs else good.read(name))
    refuse(settings(scene, evil), "is no exported network")
    assert not (scene / "was run").exists()


def test_an_engine_that_is_not_installed_is_named(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    for engine in ("openvino", "onnxruntime"):
        monkeypatch.setitem(sys.modules, engine, None)
    (scene / "net.onnx").write_bytes(b"")
    refuse(settings(scene, scene / "net.onnx"), r"needs openvino, which is not installed; pip install")
