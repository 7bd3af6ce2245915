"""`python -m tests.benchmarks.clicks FILE`: F1 of nuclei against the number of clicks, for simulated people.

FILE is an .npz with `raw` and `labels`, a stack of images (dsb_256x256.npz). Each draw labels a few images of the
part that is for training, through the session that the page drives; objects are counted in images of the part for
validation, none of which is on the mosaic of a labelled one. The part for tests is not touched.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from funlib.geometry import Roi

from contraband.experiments.study.data import DataSet, classes_of, load_data
from contraband.experiments.study.scores import f1_of_objects, nuclei, otsu
from contraband.experiments.study.settings import StudyData
from contraband.label.image import FeatureImage
from contraband.label.session import LabelSession, LabelSettings
from contraband.quick.fitting import HeadKind
from contraband.volumes.settings import VolumeSettings
from tests.support.clickers import CLICKERS, let_label

CLICKS = (6, 12, 20, 30, 40)
LABELLED = 6
"""Images that a person clicks in."""
JUDGED = 16
"""Images in which objects are counted."""


def main() -> int:
    """Print a line for each kind of person and head: mean F1 over the draws, and that of each draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--head", choices=("forest", "logistic"), default="forest")
    chosen = parser.parse_args()
    settings = StudyData(file=chosen.file)
    data = load_data("nuclei", settings)
    judged = data.images("validate")
    places = np.linspace(0, len(judged.raw) - 1, JUDGED).round().astype(int)
    raw, truth = judged.raw[places], judged.labels[places]
    sys.stdout.write(f"otsu: {f1_of_objects(nuclei(otsu(raw, settings), settings.rim), truth):.3f}\n")
    for name in CLICKERS:
        rows = []
        for draw in range(chosen.draws):
            rows.append(one_draw(data, settings, (raw, truth), (name, chosen.head, draw)))
            sys.stderr.write(f"{name}, draw {draw}: {np.round(rows[-1], 3)}\n")
        for clicks, scores in zip(CLICKS, np.transpose(rows), strict=True):
            each = " ".join(f"{score:.3f}" for score in scores)
            sys.stdout.write(f"{chosen.head}, {name}, {clicks} clicks: {np.mean(scores):.3f}  ({each})\n")
    return 0


def one_draw(
    data: DataSet, settings: StudyData, judged: tuple[np.ndarray, np.ndarray], how: tuple[str, HeadKind, int]
) -> list[float]:
    """F1 after each number of clicks."""
    name, head, draw = how
    images = data.images("train")
    chosen = np.random.default_rng(draw).choice(len(images.raw), LABELLED, replace=False)
    raw, classes = images.raw[chosen], classes_of(images.labels[chosen], settings).astype(int)
    flat = VolumeSettings.parse({"output": "none.zarr", "fragments": {"per_section": True}}, "clicks")
    session = LabelSession(raw, flat, LabelSettings(head=head, stretch="section", seed=draw))
    others = FeatureImage(judged[0], session.image.recipe)
    scores = []
    for clicks in CLICKS:
        let_label(session, classes, CLICKERS[name], clicks, draw)
        found = np.concatenate(
            [
                session.head().of_volume(others.features(Roi((z, 0, 0), (1, *judged[0].shape[1:]))))
                for z in range(len(judged[0]))
            ],
            axis=1,
        )
        scores.append(f1_of_objects(nuclei(found, settings.rim), judged[1]))
    return scores


if __name__ == "__main__":
    sys.exit(main())
