"""The audit of runs with every optional input: correct runs pass, damage is found, and nothing is written."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import yaml
from funlib.geometry import Roi

from blockwise.arrays.volume import Volume, read, write
from contraband.cli import call
from contraband.experiments.train import train_seg
from contraband.volumes import predict
from contraband.volumes.audit.places import places
from tests.support.tiny import tiny_experiment
from tests.support.volumes import cells, store_volume


def checksums(folder: Path) -> dict[str, str]:
    """sha256 of every file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def audited(capsys: pytest.CaptureFixture[str], samples: int = 20) -> tuple[int, str]:
    """Exit code and last line on stderr."""
    capsys.readouterr()
    code = call(["audit", "vol.yaml", "--samples", str(samples), "--predicted", str(samples)])
    return code, (capsys.readouterr().err.strip().splitlines() or [""])[-1]


@pytest.fixture
def predicted(in_tmp: Path) -> Path:
    """A finished run with a mask, a predicted foreground, levels by percentiles, and sections on their own."""
    seg = {"baseline": True, "seg_head": "Simple", "has_background": True, "normalize": "percentile"}
    experiment, params = tiny_experiment(in_tmp, 2, **seg)
    mask = np.ones((40, 40, 40), np.uint8)
    mask[:, 15:30, 18:24] = 0
    store_volume(in_tmp / "vol.zarr" / "mask", mask)
    settings = {
        "volume": {"raw": "data.zarr/raw", "mask": "vol.zarr/mask"},
        "output": "out.zarr",
        "blocks": {"shape": [20, 20, 20]},
        "model": {"checkpoint": str(train_seg(params, experiment, 0)[0]), "precision": "float32"},
        "fragments": {"per_section": True, "foreground": {"threshold": 0.45}},
        "cluster": {"kind": "none"},
    }
    (in_tmp / "vol.yaml").write_text(yaml.safe_dump(settings))
    assert call(["run", "vol.yaml"]) == 0
    fragments = read(Volume(path=in_tmp / "out.zarr" / "fragments"), Roi((0, 0, 0), (40, 40, 40)))
    assert 0 < np.count_nonzero(fragments) < np.count_nonzero(mask)
    return in_tmp


def test_an_audit_with_every_optional_input_passes_and_writes_nothing(predicted, capsys, monkeypatch):
    """No mismatch in a correct run, no file under the output changed, and raw is not measured again."""
    before = checksums(predicted / "out.zarr")
    monkeypatch.setattr(predict, "levels_of", lambda *_: pytest.fail("the whole raw was read again"))
    assert audited(capsys) == (0, "")
    assert checksums(predicted / "out.zarr") == before


def test_a_damaged_foreground_is_found_and_left_as_it_is(predicted, capsys):
    """A voxel of the predicted foreground that is not what the network gives is reported, and not put back."""
    voxel = places(predict.Grid("", (40, 40, 40), (20, 20, 20)), 1, 0)[0].voxel
    target, roi = Volume(path=Path("out.zarr/foreground")), Roi(voxel, (1, 1, 1))
    damaged = (read(target, roi).astype(int) + 128).astype(np.uint8)
    write(target, roi, damaged)
    code, line = audited(capsys)
    assert code == 1
    assert line.startswith(f"contraband: predict: what is stored at voxel {voxel}")
    assert np.array_equal(read(target, roi), damaged)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_given_foreground_and_mask_are_part_of_what_is_compared(dtype, in_tmp, capsys):
    """Affinities with a foreground image and a mask pass on a volume of a few voxels, and damage is found."""
    shape = (6, 12, 12)
    affinities, labels = cells(shape, spacing=4)
    full = 1 if dtype == "float32" else np.iinfo(dtype).max
    foreground = np.where(labels % 3 == 0, 0.2 * full, 0.9 * full).astype(dtype)
    store_volume(in_tmp / "vol.zarr" / "affinities", affinities)
    store_volume(in_tmp / "vol.zarr" / "foreground", foreground)
    store_volume(in_tmp / "vol.zarr" / "mask", (labels % 5 > 0).astype(np.uint8))
    settings = {
        "volume": {"mask": "vol.zarr/mask"},
        "affinities": "vol.zarr/affinities",
        "output": "out.zarr",
        "blocks": {"shape": [3, 4, 4]},
        "fragments": {"foreground": {"volume": "vol.zarr/foreground"}},
        "cluster": {"kind": "none"},
    }
    (in_tmp / "vol.yaml").write_text(yaml.safe_dump(settings))
    assert call(["run", "vol.yaml"]) == 0
    before = checksums(in_tmp / "out.zarr")
    assert audited(capsys) == (0, "")
    assert checksums(in_tmp / "out.zarr") == before
    target = Volume(path=in_tmp / "out.zarr" / "fragments")
    ids = read(target, Roi((0, 0, 0), shape))
    background = np.argwhere(ids == 0)[0]
    write(target, Roi(background, (1, 1, 1)), np.full((1, 1, 1), ids.max()))
    code, line = audited(capsys, 60)
    assert (code, "background and foreground are exchanged" in line or "no fragment" in line) == (1, True), line


def test_a_coarse_mask_and_foreground_are_part_of_what_is_compared(in_tmp, capsys):
    """Masks with voxels of whole multiples, one around the volume and one with its rest dropped, pass the audit."""
    shape = (6, 12, 13)
    affinities, labels = cells(shape, spacing=4)
    store_volume(in_tmp / "vol.zarr" / "affinities", affinities, offset=[10.0, 0.0, 0.0])
    mask = np.random.default_rng(0).random((3, 5, 7)) < 0.7
    store_volume(
        in_tmp / "vol.zarr" / "mask", mask.astype(np.uint8), voxel_size=[3.0, 3.0, 2.0], offset=[9.0, -3.0, 0.0]
    )
    likely = np.where(labels[::2, ::3, ::4][:, :, :3] % 3, 0.9, 0.2).astype(np.float32)
    store_volume(in_tmp / "vol.zarr" / "likely", likely, voxel_size=[2.0, 3.0, 4.0], offset=[10.0, 0.0, 0.0])
    found = []
    for block in ([3, 4, 4], [6, 5, 7], list(shape)):
        settings = {
            "volume": {"mask": "vol.zarr/mask"},
            "affinities": "vol.zarr/affinities",
            "output": f"out{block[1]}.zarr",
            "blocks": {"shape": block},
            "fragments": {"foreground": {"volume": "vol.zarr/likely"}},
            "cluster": {"kind": "none"},
        }
        (in_tmp / "vol.yaml").write_text(yaml.safe_dump(settings))
        assert call(["run", "vol.yaml"]) == 0
        assert audited(capsys) == (0, "")
        found.append(read(Volume(path=in_tmp / f"out{block[1]}.zarr" / "segments" / "0.5"), Roi((0, 0, 0), shape)) > 0)
    fine = mask.repeat(3, 0).repeat(3, 1).repeat(2, 2)[1:7, 3:15, :13]
    sure = np.pad(likely.repeat(2, 0).repeat(3, 1).repeat(4, 2), ((0, 0), (0, 0), (0, 1)), "edge") > 0.5
    for inside in found:
        assert np.array_equal(inside, fine & sure)
