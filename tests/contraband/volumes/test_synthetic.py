"""A run on a synthetic volume is a run on the same voxels stored, wherever its blocks are processed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from blockwise.arrays.volume import Volume, create, read, write
from blockwise.grid import between
from contraband.cli import call
from tests.support.volumes import digest

SHAPE, BLOCK = (40, 70, 96), (32, 48, 48)
QUERY = "shape=40,70,96&voxel_size=40,4,4"
MADE = {"affinities": f"synthetic://7?{QUERY}", "labels": f"synthetic://7/labels?{QUERY}"}


def settings(name: str, kind: str, affinities: str, labels: str) -> Path:
    """A settings file."""
    path = Path(f"{name}.yaml")
    content = {
        "affinities": affinities,
        "volume": {"labels": labels},
        "output": f"{name}.zarr",
        "blocks": {"shape": list(BLOCK)},
        "cluster": {"kind": kind, "workers": 2, "dashboard": False},
    }
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize("kind", ["none", "local"])
def test_a_synthetic_volume_is_segmented_as_if_it_was_stored(kind: str, in_tmp: Path) -> None:
    """Fragments, segments and scores are the same to the last byte, in this process and on workers of Dask."""
    for name, address in MADE.items():
        source, stored = Volume(path=Path(address)), Volume(path=Path(f"vol.zarr/{name}"))
        data = read(source, between((0, 0, 0), SHAPE))
        offsets = {"offsets": [[-1, 0, 0], [0, -1, 0], [0, 0, -1]]} if data.ndim == 4 else {}
        place = {"voxel_size": [40, 4, 4], **offsets}
        create(stored, data.shape, str(data.dtype), BLOCK, attributes=place)
        write(stored, between((0, 0, 0), SHAPE), data)
    assert call(["run", str(settings("made", kind, **MADE))]) == 0
    assert call(["run", str(settings("kept", "none", **{name: f"vol.zarr/{name}" for name in MADE}))]) == 0
    for name in ("fragments", "segments/0.5"):
        assert len({digest(Volume(path=in_tmp / f"{run}.zarr" / name)) for run in ("made", "kept")}) == 1
    scores = [json.loads(Path(f"{run}.zarr/evaluation.json").read_text()) for run in ("made", "kept")]
    assert scores[0] == scores[1]
    assert 0 < scores[0]["best"]["voi_sum"] < 2


def test_another_seed_is_another_input(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Finished blocks are stale, and a run says so; with the same seed there is nothing to do."""
    file = settings("made", "none", **MADE)
    assert call(["run", str(file), "--to", "fragments"]) == 0
    capsys.readouterr()
    assert call(["run", str(file), "--to", "fragments", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["stages"]["fragments"]["blocks_done"] == 0
    other = settings("made", "none", **{name: text.replace("//7", "//8") for name, text in MADE.items()})
    assert call(["run", str(other), "--to", "fragments"]) == 2
    assert "--redo" in capsys.readouterr().err


def test_nothing_is_written_to_a_synthetic_address(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As output, target of an import, or where a file is wanted: one line, exit code 2, and nothing is left."""
    file = settings("made", "none", **MADE)
    address = MADE["labels"]
    for arguments in (
        ["run", str(file), "--set", f"output={address}"],
        ["run", str(file), "--set", "affinities=synthetic://7?shape=40,70"],
        ["run", str(file), "--set", f"volume.skeletons={address}"],
        ["import", "made.yaml", address],
        ["import", address, "there.zarr/labels"],
    ):
        assert call(arguments) == 2, arguments
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert [path.name for path in in_tmp.iterdir()] == ["made.yaml"]
