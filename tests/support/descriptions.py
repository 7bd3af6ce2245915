"""Descriptions of the small network of `networks.py`, as bioimage.io has them, made with its own library."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.networks import onnx_file

Change = Callable[[dict[str, Any]], Any]


def described_network(folder: Path) -> Path:
    """`rdf.yaml` beside `net.onnx` in the folder, which is made: tiles of any size, one voxel lost on each side.

    Its preprocessing does something, and then the opposite.
    """
    library = pytest.importorskip("bioimageio.spec", reason="bioimageio.spec is not installed")
    library.save_bioimageio_yaml_only(_description(folder), folder / "rdf.yaml")
    return changed(folder / "rdf.yaml", lambda content: content["weights"]["onnx"].update(source="net.onnx"))


def packed_network(folder: Path) -> Path:
    """The same as the package that is downloaded, `net.zip`."""
    library = pytest.importorskip("bioimageio.spec", reason="bioimageio.spec is not installed")
    packed: Path = library.save_bioimageio_package(_description(folder), output_path=folder / "net.zip")
    (folder / "net.onnx").unlink()
    return packed


def changed(description: Path, change: Change) -> Path:
    """The same file with a change of what it says."""
    content = yaml.safe_load(description.read_text())
    change(content)
    description.write_text(yaml.safe_dump(content))
    return description


def _description(folder: Path) -> Any:
    from bioimageio.spec.model import v0_5

    folder.mkdir(parents=True, exist_ok=True)
    raw = v0_5.TensorId("raw")
    extent = v0_5.ParameterizedSize(min=3, step=1)
    shown = [v0_5.SpaceInputAxis(id=v0_5.AxisId(name), size=extent) for name in "zyx"]
    said = [
        v0_5.SpaceOutputAxis(
            id=v0_5.AxisId(name), size=v0_5.SizeReference(tensor_id=raw, axis_id=v0_5.AxisId(name), offset=-2)
        )
        for name in "zyx"
    ]
    halved = v0_5.ScaleLinearDescr(kwargs=v0_5.ScaleLinearKwargs(gain=0.5, offset=3))
    doubled = v0_5.FixedZeroMeanUnitVarianceDescr(kwargs=v0_5.FixedZeroMeanUnitVarianceKwargs(mean=3, std=0.5))
    channel, boundary = (v0_5.ChannelAxis(channel_names=[name]) for name in ("raw", "boundary"))
    onnx = v0_5.OnnxWeightsDescr(source=onnx_file(folder / "net.onnx"), opset_version=17)
    return v0_5.ModelDescr(
        name="membranes",
        inputs=[
            v0_5.InputTensorDescr(id=raw, axes=[v0_5.BatchAxis(), channel, *shown], preprocessing=[halved, doubled])
        ],
        outputs=[v0_5.OutputTensorDescr(id=v0_5.TensorId("said"), axes=[v0_5.BatchAxis(), boundary, *said])],
        weights=v0_5.WeightsDescr(onnx=onnx),
    )
