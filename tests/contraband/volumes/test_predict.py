"""The stage that predicts: the same bytes for every block shape, and what it stores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from funlib.geometry import Roi

from blockwise.arrays.volume import Volume, info
from blockwise.engine.options import RunOptions
from blockwise.engine.run import run_stages
from blockwise.errors import BadInput
from blockwise.executor import InProcess
from blockwise.grid import Voxels
from blockwise.store import open_store
from contraband.experiments.train import train_contrastive, train_seg
from contraband.experiments.validate import embed, validate
from contraband.models.predictor import quantise
from contraband.volumes.line import stages
from contraband.volumes.reflection import read_reflected, reflect
from contraband.volumes.settings import VolumeSettings
from contraband.volumes.tiles import predict_tiles, tiles
from tests.support.tiny import tiny_experiment
from tests.support.volumes import digest, store_volume, whole


def predicted(
    folder: Path, name: str, raw: Path, checkpoint: Path, block: Voxels, output: str = "affinities"
) -> Volume:
    """Predict a volume in this process."""
    settings = VolumeSettings.parse(
        {
            "volume": {"raw": str(raw)},
            "output": str(folder / f"{name}.zarr"),
            "blocks": {"shape": list(block)},
            "model": {"checkpoint": str(checkpoint), "tile": [8, 8, 8], "output": output, "precision": "float32"},
        },
        "test",
    )
    store = open_store(f"sqlite:///{folder / name}.db")
    with InProcess(store) as executor:
        run_stages(stages(settings)[:1], store, executor)
    store.close()
    return Volume(path=settings.output / output)


@pytest.fixture(scope="module", params=[2, 3])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, int]:
    """A folder with a tiny trained head: folder, checkpoint and dimensions."""
    folder = tmp_path_factory.mktemp(f"predict{request.param}")
    experiment, params = tiny_experiment(folder, request.param, baseline=True, seg_head="Simple")
    return folder, train_seg(params, experiment, 0)[0], request.param


@pytest.mark.parametrize("output", ["affinities", "embeddings"])
def test_blocks_do_not_change_a_prediction(trained: tuple[Path, Path, int], output: str, tmp_path: Path) -> None:
    """Tiles are anchored at the volume, so blocks of any shape store the same bytes, overhanging ones included."""
    folder, checkpoint, dims = trained
    raw = folder / "data.zarr" / "raw"
    blocks: list[Voxels] = [(40, 40, 40), (16, 16, 24), (9, 40, 13)]
    made = [predicted(tmp_path, f"{i}", raw, checkpoint, block, output) for i, block in enumerate(blocks)]
    assert len({digest(volume) for volume in made}) == 1
    found = info(made[0])
    assert found.spatial == (40, 40, 40)
    if output == "affinities":
        assert found.dtype == np.uint8
        assert found.offsets == ((-1, 0, 0), (0, -1, 0), (0, 0, -1))[3 - dims :]
        assert len(np.unique(whole(made[0]))) > 10
    else:
        assert found.dtype == np.float16


def test_a_contrastive_checkpoint_predicts_no_affinities(tmp_path: Path) -> None:
    """A checkpoint of another network is refused by name, before anything is written."""
    experiment, params = tiny_experiment(tmp_path)
    checkpoint = train_contrastive(params, experiment, 0)
    with pytest.raises(BadInput, match="predicts no affinities"):
        predicted(tmp_path, "x", tmp_path / "data.zarr" / "raw", checkpoint, (40, 40, 40))
    assert not (tmp_path / "x.zarr").exists()


def test_an_experiment_is_embedded_and_validated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`emb` writes embeddings of each data set, `val` a metrics file with one line a threshold."""
    monkeypatch.chdir(tmp_path)
    data = {"train": {"raw": "raw", "gt": "labels"}, "validate": {"raw": "raw", "gt": "labels"}}
    experiment, params = tiny_experiment(tmp_path, seg_head="Simple", dataset=data, thresholds=[0.3, 0.5])
    wanted = {"datasets": ("raw",), "data_file": (str(tmp_path / "data.zarr"),)}
    params = type(params).model_validate({**dict(params), "save_embs": wanted})
    checkpoint = int(train_contrastive(params, experiment, 0).name.rpartition("_")[2])
    train_seg(params, experiment, 0, [checkpoint])
    made = embed(params, experiment, 0, [checkpoint], RunOptions())
    assert info(Volume(path=made[0] / "embeddings")).shape == (8, 40, 40, 40)
    metrics = validate(params, experiment, 0, [checkpoint], RunOptions())
    lines = metrics[-1].read_text().splitlines()
    assert {"threshold", "voi_split", "voi_merge", "voi_sum", "arand"} <= set(lines[0].split(","))
    assert len(lines) > 50
    assert experiment.seg(0, 0, checkpoint).sample(10).is_dir()


def test_tiles_cover_a_region_once() -> None:
    """Tiles lie at multiples of their shape and cover the region; each voxel is in one tile."""
    roi = Roi((3, 10, 0), (9, 7, 5))
    count = np.zeros((24, 24, 24), int)
    for tile in tiles(roi, (4, 8, 3)):
        assert all(begin % step == 0 for begin, step in zip(tile.begin, (4, 8, 3), strict=True))
        count[tile.to_slices()] += 1
    assert (count[roi.to_slices()] == 1).all()
    assert count.max() == 1


@pytest.mark.parametrize("size", [1, 2, 5])
def test_reading_outside_mirrors_the_volume(size: int, tmp_path: Path) -> None:
    """Beyond the border lies the mirror image without its edge voxel, however far out."""
    data = np.arange(size**3, dtype=np.uint16).reshape((size,) * 3)
    volume = store_volume(tmp_path / "raw", data, (2, 2, 2))
    found = read_reflected(volume, Roi((-7,) * 3, (size + 12,) * 3), (size,) * 3)
    assert (found == np.pad(data, (7, 5), mode="reflect")).all()
    assert list(reflect(-2, 4, 3)) == [2, 1, 0, 1, 2, 1]


def test_affinities_are_rounded_to_the_nearest_step() -> None:
    """0 is 0, 1 is 255, and what lies outside is cut off."""
    values = torch.tensor([-1, 0, 0.499 / 255, 0.5, 1, 2])
    assert quantise(values).tolist() == [0, 0, 0, 128, 255, 255]


class Device:
    """Computes tiles elsewhere: tells in which order they are begun and waited for, and says their first voxel."""

    kind, channels, context = "affinities", 1, (0, 0, 0)

    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []

    def begin(self, raw: np.ndarray) -> Callable[[], np.ndarray]:
        """One tile."""
        self.seen.append(("begin", int(raw[0, 0, 0])))

        def wait() -> np.ndarray:
            self.seen.append(("wait", int(raw[0, 0, 0])))
            return raw[None]

        return wait


def test_a_device_of_its_own_always_has_the_next_tile() -> None:
    """A tile is begun before the last one is waited for, and the end of a region is left to whoever stores it."""
    whole, device = Roi((0, 0, 0), (3, 2, 2)), Device()
    raw = np.repeat(np.arange(3, dtype=np.uint8), 4).reshape(3, 2, 2)

    def take(box: Roi) -> np.ndarray:
        return raw[box.to_slices()]

    begun = predict_tiles(cast(Any, device), whole, tiles(whole, (1, 2, 2)), take)
    assert device.seen == [("begin", 0), ("begin", 1), ("wait", 0), ("begin", 2), ("wait", 1)]
    assert np.array_equal(begun.values(), raw[None])
    assert device.seen[-1] == ("wait", 2)


@pytest.mark.parametrize("more", [{"engine": "openvino"}, {"engine": "auto"}])
def test_only_what_torch_computes_is_compiled(more: dict[str, str], tmp_path: Path) -> None:
    """Other engines compile by themselves."""
    told = {"volume": {"raw": "raw"}, "output": str(tmp_path), "model": {"checkpoint": "one", "compile": True, **more}}
    with pytest.raises(BadInput, match="compile is for a checkpoint that torch computes"):
        VolumeSettings.parse(told, "test")
