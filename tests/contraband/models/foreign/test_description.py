"""What a description of bioimage.io says, in the words of settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from blockwise.errors import BadInput
from contraband.models.foreign.description import Description, read_description
from tests.support.descriptions import changed, described_network


def described(folder: Path, least: int, step: int, lost: int, halo: int) -> Description:
    """A network that is shown at least so many voxels along each axis, and loses some on each side."""

    def change(content: dict[str, Any]) -> None:
        for shown, said in zip(content["inputs"][0]["axes"][2:], content["outputs"][0]["axes"][2:], strict=True):
            shown["size"] = {"min": least, "step": step}
            said["size"]["offset"] = -2 * lost
            said.update({"halo": halo} if halo else {})

    return read_description(changed(described_network(folder), change))


@pytest.mark.parametrize(
    ("least", "step", "lost", "halo", "context", "stride"),
    [
        (48, 16, 0, 16, 16, 16),  # a U-Net that pads
        (64, 16, 0, 16, 16, 32),  # whose tiles must not be too small
        (48, 16, 0, 20, 24, 16),  # more than its halo, for 16 more voxels than a multiple
        (92, 4, 20, 0, 20, 52),  # one that pads nothing
        (92, 4, 20, 3, 24, 44),
    ],
)
def test_context_and_stride_make_tiles_of_valid_sizes(
    tmp_path: Path, least: int, step: int, lost: int, halo: int, context: int, stride: int
) -> None:
    """A tile of any whole strides with the context on both sides is shown as the description wants it."""
    found = described(tmp_path, least, step, lost, halo)
    assert found.context() == (context,) * 3
    assert found.stride((context,) * 3) == (stride,) * 3
    shown = [strides * stride + 2 * context for strides in range(1, 5)]
    assert all(size >= least and (size - least) % step == 0 for size in shown)


def test_a_context_that_makes_no_valid_tile_is_refused(tmp_path: Path) -> None:
    """Where settings give it and leave the stride to the description; and where no context does."""
    with pytest.raises(
        BadInput, match=r"model.context: along z does not go with .*48 voxels and whole times 16; got 20"
    ):
        described(tmp_path, 48, 16, 0, 16).stride((20, 16, 16))
    with pytest.raises(BadInput, match="takes no tile with as many voxels on both sides along z"):
        described(tmp_path, 49, 16, 0, 16).context()


def test_a_2d_network_looks_at_one_section(tmp_path: Path) -> None:
    """Its context and stride along z are 0 and 1."""

    def flatten(content: dict[str, Any]) -> None:
        for tensor in (content["inputs"][0], content["outputs"][0]):
            del tensor["axes"][2]

    found = read_description(changed(described_network(tmp_path), flatten))
    assert (found.axes(), found.context(), found.stride((0, 1, 1))) == ("bcyx", (0, 1, 1), (1, 1, 1))


@pytest.mark.parametrize(
    ("names", "meaning"),
    [(["Membranes"], "boundary"), (["foreground", "boundary"], "foreground+boundary")],
)
def test_names_of_channels_say_what_they_are(tmp_path: Path, names: list[str], meaning: str) -> None:
    """Where they can mean one thing only."""
    network = described_network(tmp_path)
    changed(network, lambda content: content["outputs"][0]["axes"][1].update(channel_names=names))
    assert read_description(network).says() == meaning


def test_an_older_format_is_read(tmp_path: Path) -> None:
    """Format 0.4, in which axes are letters and the halo is a list."""
    described_network(tmp_path)
    content = {
        "format_version": "0.4.10",
        "type": "model",
        "name": "membranes",
        "description": "dark lines",
        "authors": [{"name": "A. Nobody"}],
        "cite": [{"text": "unpublished", "url": "https://example.com"}],
        "license": "MIT",
        "documentation": "README.md",
        "covers": [],
        "tags": [],
        "timestamp": "2024-01-01T00:00:00",
        "test_inputs": ["in.npy"],
        "test_outputs": ["out.npy"],
        "inputs": [
            {
                "name": "raw",
                "axes": "bczyx",
                "data_type": "float32",
                "shape": {"min": [1, 1, 32, 32, 32], "step": [0, 0, 8, 8, 8]},
                "preprocessing": [{"name": "scale_linear", "kwargs": {"gain": 0.5, "axes": "czyx"}}],
            }
        ],
        "outputs": [
            {
                "name": "said",
                "axes": "bczyx",
                "data_type": "float32",
                "halo": [0, 0, 4, 8, 8],
                "shape": {"reference_tensor": "raw", "scale": [1, 1, 1, 1, 1], "offset": [0, 0, 0, 0, 0]},
            }
        ],
        "weights": {"onnx": {"source": "net.onnx", "opset_version": 17}},
    }
    (tmp_path / "old.yaml").write_text(yaml.safe_dump(content))
    for name in ("README.md", "in.npy", "out.npy"):
        (tmp_path / name).touch()
    found = read_description(tmp_path / "old.yaml")
    assert (found.axes(), found.context(), found.network()) == ("bczyx", (4, 8, 8), tmp_path / "net.onnx")
    assert found.normalise().factor == 0.5
