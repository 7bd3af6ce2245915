"""The page without a browser: what its keys do, and what the viewer would be given to show."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from funlib.geometry import Roi

from blockwise.arrays.info import Info
from blockwise.arrays.volume import Volume, create, write
from contraband.cli import call
from contraband.experiments.behind.network import TrainedNetwork
from contraband.label.behind import RoundReport
from contraband.label.image import FeatureImage
from contraband.label.labelling import points_beside, write_run
from contraband.label.page import LabelPage
from contraband.label.pairs import LabelPair, PairsRecord, pairs_beside, read_pairs
from contraband.label.proposals import LabelScore
from contraband.label.record import PointsRecord
from contraband.label.session import LabelSession
from contraband.models.classes import CLASSES
from contraband.samples.points import read_points
from contraband.volumes.settings import VolumeSettings
from contraband.volumes.view.viewer import close_viewer, open_server
from tests.support.labelled import drawn, labelled_image
from tests.support.trained import store_network, tiny_params

SHAPE = (3, 70, 80)
OFFSET = (80, 8, 0)
VOXEL = (40, 4, 4)
ARMS = ((0, 0, 2), (0, 0, -2), (0, 2, 0), (0, -2, 0))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder with a volume that lies elsewhere in the world, and its settings."""
    monkeypatch.chdir(tmp_path)
    raw = labelled_image(SHAPE, spacing=9)[0]
    like = Info(SHAPE, np.dtype("uint8"), VOXEL, OFFSET, ("nm",) * 3, (), (), (), None, {})
    create(Volume(path=tmp_path / "vol.zarr" / "raw"), SHAPE, "uint8", (3, 70, 80), like=like)
    write(Volume(path=tmp_path / "vol.zarr" / "raw"), Roi((0, 0, 0), SHAPE), raw)
    content = {
        "volume": {"raw": "vol.zarr/raw"},
        "output": "out.zarr",
        "fragments": {"per_section": True},
        "cluster": {"kind": "none"},
    }
    (tmp_path / "vol.yaml").write_text(yaml.safe_dump(content))
    return tmp_path


@pytest.fixture
def page(place: Path):
    """A page on a free port, its points kept beside the volume."""
    raw = Volume(path=place / "vol.zarr" / "raw")
    data = yaml.safe_load((place / "vol.yaml").read_text())
    volume = VolumeSettings.parse(data, "test")
    with PointsRecord(points_beside(Path("vol.zarr/raw")), SHAPE) as record:
        session = LabelSession(raw, volume, None, record, PairsRecord(pairs_beside(record.path), SHAPE))
        viewer = open_server("127.0.0.1", 0)
        made = LabelPage(viewer, raw, session, lambda: str(write_run(Path("vol.yaml"), data, session, record)))
        made.step(0)
        yield made
        close_viewer()


def press(page: LabelPage, action: str, voxel=None) -> None:
    """What the browser sends when a key is pressed while the mouse is over a voxel of the image."""
    state = {"viewerState": {"dimensions": {axis: [1e-9, "m"] for axis in "zyx"}}}
    if voxel is not None:
        state["mousePosition"] = [at + first / size + 0.4 for at, first, size in zip(voxel, OFFSET, VOXEL, strict=True)]
    page.viewer.actions.invoke(action, state)
    page.step(0)


def status(page: LabelPage, key: str = "label") -> str:
    """A line below the image."""
    return page.viewer.config_state.state.status_messages[key]


def marked(page: LabelPage, label: int) -> list[list[int]]:
    """The voxels in the middle of the crosses that are drawn for a class."""
    drawn = page._marks[tuple(slice(0, size) for size in SHAPE)] == label + 1
    crosses = [voxel for voxel in np.argwhere(drawn) if all(drawn[tuple(voxel + arm)] for arm in ARMS)]
    return [voxel.tolist() for voxel in crosses]


def test_keys_label_what_the_mouse_points_at(page):
    """1 and 2 label the voxel under the mouse: it is in the file and drawn; with two classes there is a prediction."""
    assert "label voxels of two classes" in status(page, "score")
    press(page, "label-inside", (1, 20, 30))
    assert read_points(Path("vol.raw.points.csv")).positions.tolist() == [[1, 20, 30]]
    assert marked(page, 1) == [[1, 20, 30]]
    assert page._marks.source.voxel_offset.tolist() == [2, 2, 0]
    press(page, "label-boundary", (1, 40, 50))
    press(page, "label-again", (1, 41, 50))
    assert read_points(Path("vol.raw.points.csv")).labels.tolist() == [1, 2, 2]
    assert "1 inside, 2 boundary" in status(page, "score")
    assert marked(page, 2) == [[1, 40, 50], [1, 41, 50]]
    shown = page._prediction[(slice(0, 3), slice(1, 2), slice(0, 70), slice(0, 80))]
    assert shown.sum(axis=0).min() >= 254
    assert page._prediction.source.change_count > 0
    press(page, "undo-label")
    press(page, "undo-label")
    assert read_points(Path("vol.raw.points.csv")).labels.tolist() == [1]
    assert marked(page, 2) == []
    assert not page._prediction[(slice(0, 3), slice(1, 2), slice(0, 70), slice(0, 80))].any()


def test_two_keys_make_a_pair(page):
    """s at two voxels says that they are one object, o at two that they are two: on the disk, drawn, undone by u."""
    pairs = Path("vol.raw.pairs.csv")
    press(page, "pair-same", (1, 20, 30))
    assert "press s at a voxel of it" in status(page)
    assert not pairs.exists()
    press(page, "undo-label")
    assert status(page) == "no pair"
    press(page, "pair-same", (1, 20, 30))
    press(page, "pair-other", (1, 20, 30))  # another kind begins another pair
    press(page, "pair-other", (1, 20, 50))
    press(page, "pair-same", (1, 10, 12))
    press(page, "pair-same", (2, 10, 12))
    assert "sections stand alone" in status(page)
    made = [LabelPair((1, 20, 30), (1, 20, 50), False), LabelPair((1, 10, 12), (2, 10, 12), True)]
    assert read_pairs(pairs) == made
    drawn = page._marks[tuple(slice(0, size) for size in SHAPE)]
    assert (drawn[1, 20, 31:50:2] == 5).all()
    assert drawn[1, 10, 12] == drawn[2, 10, 12] == 4
    press(page, "label-boundary", (1, 40, 50))
    assert "1 boundary, 2 pairs" in status(page, "score")
    assert page._prediction[(slice(0, 3), slice(1, 2), slice(0, 70), slice(0, 80))].any()
    press(page, "undo-label")
    press(page, "undo-label")
    assert "took back the pair" in status(page)
    assert read_pairs(pairs) == made[:1]
    press(page, "pair-same", (1, 20, 30))
    press(page, "pair-same", (1, 20, 30))
    assert "is of one voxel" in status(page)


def test_a_trained_network_is_shown_where_it_is_better(page, place):
    """The page says what is shown, with both scores; t takes the other, and w writes settings by which it predicts."""
    classes = labelled_image(SHAPE, spacing=9)[1]
    for voxel, label in zip(*drawn(classes, 4), strict=True):
        press(page, f"label-{CLASSES[label]}", voxel)
    press(page, "take-other")
    assert "--train" in status(page)
    training = Told(place)
    page._training = training
    for trained, quick, shown in ((0.7, 0.8, "quick head"), (0.9, 0.8, "trained network")):
        training.tell(page, trained, quick)
        assert status(page, "training").startswith(f"shown: {shown}; told right when left out: network {trained:.0%}")
        assert "fold 2 of 3" in status(page, "training")
    by_network = page._segments[(slice(1, 2), slice(0, 70), slice(0, 80))]
    press(page, "write-settings")
    assert yaml.safe_load(Path("vol-labelled.yaml").read_text())["model"] == {"checkpoint": "vol.raw.network"}
    assert call(["run", "vol-labelled.yaml"]) == 0
    press(page, "take-other")
    assert status(page, "training").startswith("shown: quick head")
    assert np.any(by_network != page._segments[(slice(1, 2), slice(0, 70), slice(0, 80))])


class Told:
    """A training that says what a test wants, with a network that has learnt nothing."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "untaught"
        self.doing = "fold 2 of 3, step 5 of 9"
        self.report: RoundReport | None = None
        store_network(self._path)

    def network(self, report: RoundReport, image: FeatureImage) -> TrainedNetwork:
        """Always the same."""
        return TrainedNetwork(self._path, image)

    def tell(self, page: LabelPage, trained: float, quick: float) -> None:
        """Scores of network and quick head."""
        scores = (LabelScore(share, 0.1, 8, (share, share)) for share in (trained, quick))
        self.report = RoundReport("untaught", f"{trained}", 1, *scores)
        page._events.put(("training", None))
        page.step(0)


def test_what_is_beside_the_image_is_refused(page):
    """A key pressed over nothing, or over a place outside of the volume, labels nothing, and the page says so."""
    press(page, "label-inside")
    assert "point at a voxel" in status(page)
    press(page, "label-inside", (1, 20, 80))
    assert "outside the volume" in status(page)
    press(page, "next-proposal")
    assert "all of one class" in status(page)
    press(page, "write-settings")
    assert "all of one class" in status(page)
    assert not Path("vol.raw.points.csv").exists()
    assert not Path("vol-labelled.yaml").exists()


def test_the_view_is_followed(page):
    """What is predicted is the section that is looked at; `n` jumps to a proposal in another place."""
    classes = labelled_image(SHAPE, spacing=9)[1]
    for voxel, label in zip(*drawn(classes[1:2], 3), strict=True):
        press(page, f"label-{CLASSES[label]}", (1, *voxel[1:]))
    assert page._segments[(slice(1, 2), slice(0, 70), slice(0, 80))].any()
    with page.viewer.txn() as state:
        state.position = [2 + 2.5, 30, 30]
    page.step(0)
    assert page._segments[(slice(2, 3), slice(0, 70), slice(0, 80))].any()
    assert not page._segments[(slice(1, 2), slice(0, 70), slice(0, 80))].any()
    press(page, "next-proposal")
    assert "taken for" in status(page)
    position = page.viewer.state.position
    assert all(
        0 <= at - first / size < whole for at, first, size, whole in zip(position, OFFSET, VOXEL, SHAPE, strict=True)
    )


def test_the_settings_written_run(page, capsys):
    """`w` writes settings by which `contraband run` segments the volume, with the rules that were seen."""
    classes = labelled_image(SHAPE, spacing=9)[1]
    for voxel, label in zip(*drawn(classes, 6), strict=True):
        press(page, f"label-{CLASSES[label]}", voxel)
    press(page, "write-settings")
    assert "vol-labelled.yaml" in status(page)
    written = yaml.safe_load(Path("vol-labelled.yaml").read_text())
    assert written["model"] == {"head": "vol.raw.head.npz"}
    assert written["fragments"] == {"per_section": True}
    assert call(["run", "vol-labelled.yaml"]) == 0
    assert Path("out.zarr/segments/0.5").is_dir()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nosuch.yaml"], "no such file"),
        (["vol.yaml", "--set", "volume.raw=nosuch"], "no such volume"),
        (["vol.yaml", "--set", "volume.raw=null"], "is needed"),
        (["vol.yaml", "--set", "volume.raw=bad.csv"], "bad.csv"),
        (["vol.yaml", "--points", "bad.csv"], "line 2"),
        (["vol.yaml", "--points", "outside.csv"], "outside the volume"),
        (["vol.yaml", "--points", "no/such.csv"], "folder is not there"),
        (["vol.yaml", "--head", "tree"], "tree"),
        (["vol.yaml", "--features", "both"], "need an encoder"),
        (["vol.yaml", "--encoder", "nosuch"], "holds no checkpoint"),
        (["vol.yaml", "--train", "--params", "nosuch.json"], "no such file"),
        (["vol.yaml", "--params", "grid.json"], "is a grid"),
        (["vol.yaml", "--params", "deep.json"], "does not fit the session"),
        (["vol.yaml", "--params", "large.json"], "smaller than the network"),
        (["vol.yaml", "--points", "torn.csv"], "is no pair"),
        (["vol.yaml", "--bind", "203.0.113.7"], "cannot listen"),
        (["vol.yaml", "--set", "unknown=1"], "unknown key"),
    ],
)
def test_bad_input_is_one_line(place, capsys, arguments, words):
    """What cannot work is refused before there is a page: one line, exit 2, nothing written."""
    (place / "bad.csv").write_text("z,y,x,label\n1,1\n")
    (place / "outside.csv").write_text("z,y,x,label\n1,1,80,1\n")
    (place / "torn.pairs.csv").write_text("z,y,x,to_z,to_y,to_x,same\n1,1,1,1,1\n")
    flat = tiny_params(2)
    large = flat["model"][0] | {"in_shape": [128, 128]}
    for name, params in {
        "grid": flat | {"seg": flat["seg"] | {"lr": [0.1, 0.2]}},
        "deep": tiny_params(3),
        "large": flat | {"model": [large]},
    }.items():
        (place / f"{name}.json").write_text(json.dumps(params))
    before = {path.name for path in place.iterdir() if not path.name.endswith(".lock")}
    assert call(["label", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert {path.name for path in place.iterdir() if not path.name.endswith(".lock")} == before


@pytest.mark.parametrize(
    ("raw", "points"),
    [
        ("data/vol.zarr/raw", "data/vol.raw.points.csv"),
        ("vol.zarr/a/b", "vol.a.b.points.csv"),
        ("vol.zarr", "vol.points.csv"),
        ("folder/raw", "folder/raw.points.csv"),
    ],
)
def test_points_lie_beside_the_volume(raw, points):
    """The file of points is named for the volume, and never lies inside of its container."""
    assert points_beside(Path(raw)) == Path(points)
