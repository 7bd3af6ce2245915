"""Networks on whole images and at single pixels of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from contraband.experiments.study.prediction import class_predictor, classes_at, classes_whole
from contraband.models.networks import SegmentationNet
from contraband.models.settings import ModelSettings
from tests.support.discs import discs

MODEL = ModelSettings(in_shape=(32, 32), num_fmaps=4, downsample_factors=((2, 2),))


def content(percentiles: dict | None = None, model: ModelSettings = MODEL) -> dict:
    """The checkpoint of an untrained network that tells classes."""
    torch.manual_seed(0)
    network = SegmentationNet(model, "Simple", 3, 1)
    return {
        "kind": "segmentation",
        "model": model.model_dump(mode="json"),
        "head": {"seg_head": "Simple", "out_channels": 3, "levels": 1, "says": "classes", "foreground": False},
        "offsets": [[0, -1, 0], [0, 0, -1]],
        "norm_factor": 1.0 if percentiles else 1 / 255,
        "percentiles": percentiles,
        "step": 1,
        "ema": {name: value.detach() for name, value in network.named_parameters()},
    }


@pytest.mark.parametrize("percentiles", [None, {"low": 1.0, "high": 99.8}])
def test_pixels_say_what_whole_images_say(percentiles):
    """Of images of odd extents, pixels in corners and elsewhere get the classes that the whole image gets there."""
    raw = discs(3)[0][:, :61, :57]
    predictor = class_predictor(content(percentiles))
    everywhere = classes_whole(predictor, raw)
    assert everywhere.shape == (3, *raw.shape)
    positions = np.array([[0, 0, 0], [2, 60, 56], [1, 0, 56], [1, 30, 31], [0, 33, 2]])
    for chosen in (positions, np.repeat(positions, 40, axis=0)):  # few pixels of an image, and many
        found = classes_at(predictor, raw, chosen)
        assert found == pytest.approx(everywhere[:, *chosen.T].T, abs=1e-5)


def test_voxels_say_what_whole_volumes_say(monkeypatch):
    """In 3D a volume is predicted tile by tile, as by one tile, and voxels get what the volume gets there."""
    deep = ModelSettings(in_shape=(20, 20, 20), num_fmaps=2, downsample_factors=((2, 2, 2),))
    raw = discs(13)[0][:, :31, :29]
    predictor = class_predictor(content({"low": 1.0, "high": 99.8}, deep))
    monkeypatch.setattr("contraband.experiments.study.prediction.TILE", (64, 64, 64))
    everywhere = classes_whole(predictor, raw)
    monkeypatch.setattr("contraband.experiments.study.prediction.TILE", (4, 12, 12))
    assert classes_whole(predictor, raw) == pytest.approx(everywhere, abs=1e-5)
    assert everywhere.sum(0) == pytest.approx(1, abs=1e-5)
    positions = np.array([[0, 0, 0], [12, 30, 28], [5, 0, 28], [7, 13, 14]])
    for chosen in (positions, np.repeat(positions, 40, axis=0)):
        assert classes_at(predictor, raw, chosen) == pytest.approx(everywhere[:, *chosen.T].T, abs=1e-5)


def test_classes_are_those_of_the_network():
    """The probabilities are the softmax of the network's own outputs, and sum to 1."""
    raw = discs(1)[0]
    whole = content()
    predictor = class_predictor(whole)
    said = classes_whole(predictor, raw)
    network = SegmentationNet(MODEL, "Simple", 3, 1)
    network.load_state_dict(whole["ema"])
    margin = predictor.context[1]
    padded = np.pad(raw / np.float32(255), ((0, 0), (margin, margin), (margin, margin)), mode="reflect")
    with torch.no_grad():
        expected = network(torch.from_numpy(padded)[None]).softmax(1)[0].numpy()
    assert said[:, 0] == pytest.approx(expected, abs=1e-5)
    assert said.sum(0) == pytest.approx(1, abs=1e-5)
