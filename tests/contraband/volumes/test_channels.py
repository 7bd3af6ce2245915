"""Raw with several channels, as in colour or fluorescence: trained on, predicted, shown, refused where it must be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
import zarr
from PIL import Image

from blockwise.arrays.volume import Volume, info
from contraband.cli import call
from contraband.experiments.params import load_params
from contraband.experiments.train import train_seg
from contraband.interface import predict
from contraband.volumes.channels import shown
from tests.support.discs import discs
from tests.support.tiny import tiny_experiment
from tests.support.volumes import digest, whole


def coloured(folder: Path, dims: int, channels: int) -> Path:
    """Train a tiny head on raw with channels for ten steps: its checkpoint. Raw is data.zarr/raw."""
    experiment, _ = tiny_experiment(folder, dims, baseline=True, seg_head="Simple")
    group = zarr.open_group(str(folder / "data.zarr"), mode="a")
    raw = group["raw"][:]
    colours = np.stack([raw, 255 - raw, np.roll(raw, 3, axis=-1)])[:channels]
    group.create_array("raw", data=colours, overwrite=True)
    content = json.loads(experiment.param_dict.read_text())
    content["model"][0]["in_channels"] = channels
    experiment.param_dict.write_text(json.dumps(content))
    return train_seg(load_params(experiment.param_dict), experiment, 0)[0]


def settings_file(name: str, checkpoint: Path, block: list[int], **volume: object) -> str:
    """A VOLUME.yaml that leaves per_section to the network."""
    content = {
        "volume": {"raw": "data.zarr/raw", **volume},
        "model": {"checkpoint": str(checkpoint), "precision": "float32", "tile": [8, 8, 8]},
        "output": f"{name}.zarr",
        "blocks": {"shape": block},
        "cluster": {"kind": "none"},
    }
    Path(f"{name}.yaml").write_text(yaml.safe_dump(content))
    return f"{name}.yaml"


@pytest.mark.parametrize(("dims", "channels"), [(2, 2), (2, 3), (3, 2)])
def test_channels_go_from_training_to_a_picture(
    in_tmp: Path, capsys: pytest.CaptureFixture[str], dims: int, channels: int
) -> None:
    """A network that sees several channels is trained, run to segments and drawn; blocks do not show in its bytes."""
    checkpoint = coloured(in_tmp, dims, channels)
    made = set()
    for number, block in enumerate(([40, 40, 40], [9, 40, 13])):
        assert call(["run", settings_file(f"out{number}", checkpoint, block)]) == 0
        stored = ("affinities", "segments/0.5")
        made.add(tuple(digest(Volume(path=in_tmp / f"out{number}.zarr" / one)) for one in stored))
    assert len(made) == 1
    affinities = Volume(path=in_tmp / "out0.zarr" / "affinities")
    assert len(info(affinities).offsets) == dims  # so sections stand alone where the network is flat
    raw = zarr.open_group("data.zarr", mode="r")["raw"][:]
    np.testing.assert_allclose(
        predict(raw, checkpoint, precision="float32", progress=False).astype(int), whole(affinities).astype(int), atol=1
    )
    assert call(["view", "out0.yaml", "--png", "seen.png"]) == 0
    pixels = np.asarray(Image.open("seen.png").convert("RGB")).astype(int)
    assert (np.ptp(pixels[:, : pixels.shape[1] // 2], axis=-1) > 50).any()  # raw is not grey
    capsys.readouterr()
    assert call(["run", settings_file("less", checkpoint, [40, 40, 40], channels=[0])]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"are not as many as the network sees; got 1 of raw, wanted {channels}" in line
    assert not Path("less.zarr").exists()
    zarr.open_group("data.zarr", mode="a").create_array("more", data=np.concatenate([raw, raw]))
    assert call(["run", settings_file("more", checkpoint, [40, 40, 40], raw="data.zarr/more")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"got {2 * channels} of raw, wanted {channels}; choose as many by volume.channels" in line
    assert not Path("more.zarr").exists()


@pytest.mark.parametrize("dims", [2, 3])
def test_rules_without_labels_see_the_mean_of_channels_and_say_so(
    in_tmp: Path, capsys: pytest.CaptureFixture[str], dims: int
) -> None:
    """A file written by hand that chooses none, for two channels in 2D and in 3D; one that is chosen is seen alone."""
    raw, _ = discs(6)
    several = np.stack([np.full_like(raw, 3), raw]).astype(np.uint16)
    group = zarr.open_group("data.zarr", mode="w")
    group.create_array("raw", data=several)
    group.create_array("mean", data=several.mean(0, dtype=np.float32))
    group.create_array("second", data=several[1].astype(np.float32))
    rules = {"kind": "nuclei", "dark": False, "radius": 8, "dims": dims}
    made = {}
    for name, source in {
        "several": {"raw": "data.zarr/raw"},
        "mean": {"raw": "data.zarr/mean"},
        "chosen": {"raw": "data.zarr/raw", "channels": [1]},
        "second": {"raw": "data.zarr/second"},
    }.items():
        content = {"volume": source, "model": {"classical": rules}, "output": f"{name}.zarr"}
        Path(f"{name}.yaml").write_text(yaml.safe_dump(content))
        assert call(["run", f"{name}.yaml"]) == 0
        said = "data.zarr/raw: rules see the mean of channels 0, 1; volume.channels chooses among them"
        assert (said in capsys.readouterr().err) == (name == "several")
        made[name] = digest(Volume(path=in_tmp / f"{name}.zarr" / "affinities"))
    assert made["several"] == made["mean"]
    assert made["chosen"] == made["second"]
    assert len(info(Volume(path=in_tmp / "several.zarr" / "affinities")).offsets) == dims


def test_channels_are_chosen_in_order(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Chosen channels come in the order that is given; those that are not there are refused in one line."""
    raw = np.arange(3 * 8, dtype=np.uint8).reshape(3, 2, 2, 2)
    np.testing.assert_array_equal(shown(raw, (2, 0)), raw[[2, 0]])
    np.testing.assert_array_equal(shown(raw, (1,)), raw[1])
    np.testing.assert_array_equal(shown(raw, (0, 2), is_mean=True), raw[[0, 2]].mean(0))
    zarr.open_group("data.zarr", mode="w").create_array("raw", data=raw)
    rules = {"kind": "nuclei", "dark": False, "radius": 1.0, "dims": 3}
    content = {"volume": {"raw": "data.zarr/raw", "channels": [3]}, "model": {"classical": rules}, "output": "o.zarr"}
    Path("vol.yaml").write_text(yaml.safe_dump(content))
    assert call(["run", "vol.yaml"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "has channels 0 to 2; got [3]" in line
    assert not Path("o.zarr").exists()


@pytest.mark.parametrize("channels", [2, 3])
def test_an_own_colour_image_is_started(in_tmp: Path, capsys: pytest.CaptureFixture[str], channels: int) -> None:
    """RGB images and two channels of fluorescence are imported whole and segmented by the channel that is meant."""
    raw, labels = discs(6)
    noise = np.random.default_rng(0).integers(0, 30, raw.shape, dtype=np.uint8)
    several = np.stack([noise, raw, raw][:channels], axis=-1 if channels == 3 else 1)
    if channels == 3:
        Path("set").mkdir()
        for number, image in enumerate(several):
            Image.fromarray(image).save(f"set/{number}.png")
        arguments = ["set"]
    else:
        np.save("set.npy", several)
        arguments = ["set.npy", "--axes", "zcyx"]
    assert call(["start", *arguments, "--channel", "1"]) == 0
    assert f"channels    1 of {channels}" in capsys.readouterr().out
    settings = yaml.safe_load(Path("set.yaml").read_text())
    assert settings["volume"]["channels"] == [1]
    assert info(Volume(path=Path(settings["volume"]["raw"]))).channels == channels
    found = whole(Volume(path=Path("out/set.zarr/segments/0.5")))
    assert len(np.unique(found)) - 1 == sum(len(np.unique(one)) - 1 for one in labels)
