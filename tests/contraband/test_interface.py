"""`import contraband`: what its functions give and raise, and that the commands call them."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import yaml

import contraband as cb
from blockwise.arrays.volume import Volume
from blockwise.kernels.graph.edges import count_edges
from contraband.cli import call
from contraband.volumes.settings import Blocks, Model, VolumeSettings
from tests.house.sources import modules, tree
from tests.support.paths import ROOT
from tests.support.tiny import tiny_experiment
from tests.support.volumes import NEAREST, cells, store_volume, whole

SHAPE = (12, 20, 24)
BLOCK = (6, 10, 12)
STAGES = ["fragments", "edges", "agglomerate", "segment", "evaluate"]
OWN = {
    "load_volume_settings",
    "volume_settings",
    "execute",
    "planned",
    "import_volume",
    "run_mode",
    "train_contrastive",
    "train_seg",
    "predict_array",
    "Result",
}
"""What the interface alone calls."""


@pytest.fixture
def data(in_tmp: Path) -> dict[str, object]:
    """Settings of a small volume in the working folder, as a dictionary."""
    affinities, labels = cells(SHAPE)
    store_volume(in_tmp / "vol.zarr" / "affinities", affinities, BLOCK)
    store_volume(in_tmp / "vol.zarr" / "labels", labels, BLOCK)
    return {
        "affinities": "vol.zarr/affinities",
        "volume": {"labels": "vol.zarr/labels"},
        "output": "out/a.zarr",
        "blocks": {"shape": list(BLOCK)},
        "cluster": {"kind": "none"},
    }


@pytest.fixture
def settings(data: dict[str, object]) -> cb.VolumeSettings:
    """The same, loaded."""
    return cb.load_settings(data)


def test_settings_come_from_yaml_or_from_objects(data: dict[str, object], settings: cb.VolumeSettings) -> None:
    """A file, a dictionary, one with paths and sections in it, and the class: the same settings."""
    Path("vol.yaml").write_text(yaml.safe_dump(data))
    objects = {**data, "output": Path("out/a.zarr"), "blocks": Blocks(shape=BLOCK)}
    assert cb.load_settings("vol.yaml") == cb.load_settings(Path("vol.yaml")) == cb.load_settings(objects) == settings
    changed = cb.load_settings("vol.yaml", ["segment.thresholds=[0.3]"])
    section = type(settings.segment)(thresholds=(0.3,))
    assert changed == settings.model_copy(update={"segment": section})
    assert isinstance(settings, VolumeSettings)


def test_settings_made_as_objects_are_checked_too(settings: cb.VolumeSettings) -> None:
    """With nothing to begin with, or two things, a run is refused before it begins."""
    for changes, message in (
        ({"affinities": None}, "nothing to segment"),
        ({"model": Model(checkpoint=Path("m"))}, "affinities are both given and predicted"),
    ):
        with pytest.raises(cb.BadInput, match=message):
            cb.run(settings.model_copy(update=changes))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nosuch.yaml", "nosuch.yaml: no such file"),
        ({"output": "out/a.zarr"}, "settings: nothing to segment"),
        ({"output": "out/a.zarr", "affinities": "a", "fragment": {}}, "settings: fragment: unknown key"),
        ({"output": "out/a.zarr", "affinities": "a", "blocks": {"shape": [1, 2]}}, "settings: blocks.shape"),
        ({"output": "out/a.zarr", "affinities": b"affs"}, "settings: affinities: is not a plain number or text"),
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused_in_one_line(in_tmp: Path, source: object, message: str) -> None:
    """The line names the file, or says that they are settings, and the key."""
    with pytest.raises(cb.BadInput, match=message) as caught:
        cb.load_settings(source)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_run_gives_a_row_for_each_stage_and_goes_on(settings: cb.VolumeSettings) -> None:
    """Stages can be chosen; what is done is skipped; status and report agree; progress is told."""
    told: list[tuple[str, int, int]] = []
    rows = cb.run(
        settings, last="agglomerate", progress=lambda name, done, total, note="": told.append((name, done, total))
    )
    assert [row["stage"] for row in rows] == STAGES[:3]
    assert [row["blocks_done"] for row in rows] == [8, 8, 1]
    assert told[0] == ("fragments", 0, 8)
    assert told[-1] == ("agglomerate", 1, 1)
    rows = cb.run(settings, progress=False)
    assert [(row["stage"], row["blocks_skipped"]) for row in rows] == list(zip(STAGES, [8, 8, 1, 0, 0], strict=True))
    assert cb.open_result(settings).report == rows
    assert {row["stage"]: (row["blocks"], row["done"]) for row in cb.status(settings)}["segment/0.5"] == (8, 8)
    assert all(row["failures"] == [] for row in cb.status(settings))
    with pytest.raises(cb.Stale, match="smooth"):
        cb.run(cb.load_settings(settings.model_dump(mode="json"), ["fragments.smooth=1.0"]), progress=False)
    rows = cb.run(settings, first="segment", redo="segment", progress=False)
    assert [(row["stage"], row["blocks_done"]) for row in rows] == [("segment", 8), ("evaluate", 0)]


def test_a_run_shows_its_progress_and_says_nothing_if_told_so(
    settings: cb.VolumeSettings, capfd: pytest.CaptureFixture[str]
) -> None:
    """A line for each stage on stderr, for scripts; none with `progress=False`."""
    cb.run(settings, last="edges")
    assert [line.partition(",")[0] for line in capfd.readouterr().err.splitlines()] == [
        "fragments: 8 of 8 blocks",
        "edges: 8 of 8 blocks",
    ]
    cb.run(settings, progress=False)
    assert capfd.readouterr() == ("", "")


def test_a_plan_reads_metadata_and_probes_when_asked(settings: cb.VolumeSettings, in_tmp: Path) -> None:
    """A row for each stage, a forecast from some blocks, and nothing is left on the disk."""
    before = sorted(in_tmp.rglob("*"))
    plan = cb.plan(settings)
    assert [row["stage"] for row in plan.stages] == [*STAGES[:3], "segment/0.5", "evaluate"]
    assert plan.stages[0]["blocks"] == 8
    assert sorted(in_tmp.rglob("*")) == before
    forecast = plan.probe()
    assert forecast.wall_seconds > 0
    assert [stage.stage for stage in forecast.stages] == [row["stage"] for row in plan.stages]
    assert [path for path in in_tmp.rglob("*") if "prob" in path.name] == []


def test_segments_at_any_threshold_are_what_the_command_writes(settings: cb.VolumeSettings) -> None:
    """Before any threshold was written, from provisional numbers on disk, and afterwards: the same bytes."""
    cb.run(settings, last="agglomerate", progress=False)
    result = cb.open_result(settings)
    thresholds = [0.1, 0.35, 0.5, 0.83, 1.0]
    early = {threshold: np.asarray(result.segments(threshold)) for threshold in thresholds}
    fragments = np.asarray(result.fragments)
    assert not np.array_equal(fragments, result.stored("fragments")[...])  # else nothing is shown
    written = cb.load_settings(settings.model_dump(mode="json"), [f"segment.thresholds={thresholds}"])
    cb.run(written, last="segment", progress=False)
    for threshold in thresholds:
        stored = result.stored(f"segments/{threshold:g}")
        assert np.array_equal(early[threshold], stored[...])
        assert np.array_equal(result.segments(threshold)[3:9, -7, ::2], stored[3:9, -7, ::2])
    assert np.array_equal(fragments, result.fragments[...])
    assert np.array_equal(fragments, result.stored("fragments")[...])
    assert len({len(np.unique(found)) for found in early.values()}) >= 4
    assert result.segments(0.35).chunks == BLOCK


def test_graph_dendrogram_and_scores_are_arrays_and_rows(settings: cb.VolumeSettings) -> None:
    """The region graph is that of the final fragments counted at once; scores come from evaluation.json."""
    evaluation = cb.evaluate(settings, progress=False)
    result = cb.open_result("out/a.zarr")
    fragments = result.fragments[...]
    affinities = whole(Volume(path=Path("vol.zarr/affinities")))
    expected = count_edges(fragments, affinities, [tuple(offset) for offset in NEAREST], (0, 0, 0))
    graph = result.region_graph
    for name in ("u", "v", "sum", "count"):
        assert np.array_equal(np.sort(graph, order=("u", "v"))[name], np.sort(expected, order=("u", "v"))[name])
    tree = result.dendrogram
    assert np.array_equal(tree.fragment, np.setdiff1d(fragments, [0]))
    assert ((tree.score > 0) == (tree.parent != tree.fragment)).all()
    assert evaluation == json.loads(Path("out/a.zarr/evaluation.json").read_text()) == result.evaluation
    assert result.scores == evaluation["thresholds"]
    assert min(result.scores, key=lambda row: row["voi_sum"]) == evaluation["best"]
    assert repr(result).endswith("segment/0.5, evaluate finished)")


def test_what_is_not_there_is_said_in_one_line(settings: cb.VolumeSettings) -> None:
    """No output, no store, another store, a stage that is not finished, a threshold that cannot be had."""
    with pytest.raises(cb.BadInput, match=r"out/a\.zarr: no such output; run the volume first"):
        cb.open_result(settings)
    with pytest.raises(cb.BadInput, match="nothing to evaluate against"):
        cb.evaluate(settings.model_copy(update={"volume": type(settings.volume)()}))
    cb.run(settings, last="fragments", progress=False)
    result = cb.open_result(settings)
    for read in (lambda: result.fragments, lambda: result.segments(0.5), lambda: result.dendrogram):
        with pytest.raises(cb.BadInput, match="agglomerate is not finished; got fragments finished"):
            read()
    with pytest.raises(cb.BadInput, match="edges is not finished"):
        _ = result.region_graph
    with pytest.raises(cb.BadInput, match="evaluate is not finished"):
        _ = result.scores
    with pytest.raises(cb.BadInput, match="no such volume"):
        result.stored("embeddings")
    cb.run(settings, last="agglomerate", progress=False)
    for threshold in (-1.0, 1.5, float("nan")):
        with pytest.raises(cb.BadInput, match=r"threshold: is not available; got .*, wanted 0(\.0)? to 1"):
            result.segments(threshold)
    other = cb.load_settings(settings.model_dump(mode="json"), ["output=out/b.zarr"])
    cb.run(other, last="fragments", progress=False)
    with pytest.raises(cb.BadInput, match="belongs to another output"):
        cb.open_result("out/a.zarr", "sqlite:///out/b.db")
    Path("out/a.db").rename("out/gone.db")
    with pytest.raises(cb.BadInput, match="no such store"):
        cb.open_result(settings)
    assert cb.open_result("out/a.zarr", "sqlite:///out/gone.db").dendrogram.fragment.size


@pytest.mark.parametrize("normalize", ["factor", "percentile"])
def test_an_image_in_memory_is_predicted_as_a_run_does(in_tmp: Path, normalize: str) -> None:
    """Trained for some steps, the network gives the bytes that a run stores, over tiles that reach outside."""
    experiment, _ = tiny_experiment(in_tmp, dims=3, baseline=True, normalize=normalize)
    (checkpoint,) = cb.train(experiment.path, "seg", progress=False)
    assert cb.train(experiment.path, "seg", progress=False) == [checkpoint]
    short = whole(Volume(path=in_tmp / "data.zarr" / "raw"))
    raw = np.concatenate([short, short[::-1]])
    store_volume(in_tmp / "long.zarr" / "raw", raw)
    run = {"volume": {"raw": "long.zarr/raw"}, "model": {"checkpoint": checkpoint}, "output": "out/p.zarr"}
    cb.run(cb.load_settings({**run, "cluster": {"kind": "none"}}), last="predict", progress=False)
    stored = cb.open_result("out/p.zarr").stored("affinities")[...]
    told: list[tuple[int, int]] = []
    found = cb.predict(raw, checkpoint, progress=lambda name, done, total, note="": told.append((done, total)))
    assert (found.dtype, found.shape) == (np.dtype("uint8"), (3, *raw.shape))
    assert np.array_equal(found, stored)
    assert len(np.unique(found)) > 10
    assert told == [(0, 2), (1, 2), (2, 2)]
    embeddings = cb.predict(short[:16], checkpoint, output="embeddings", progress=False)
    assert (embeddings.dtype, embeddings.shape) == (np.dtype("float16"), (8, 16, *short.shape[1:]))
    for bad in (short[0], short[None], short[:0], short.astype("datetime64[s]")):
        with pytest.raises(cb.BadInput, match="raw: is no image"):
            cb.predict(bad, checkpoint, progress=False)
    with pytest.raises(cb.BadInput, match="no checkpoint"):
        cb.predict(short, in_tmp, progress=False)


def test_a_file_is_imported(in_tmp: Path) -> None:
    """The description of the new volume; options as the command has them; a fault leaves nothing."""
    np.save("raw.npy", np.arange(60, dtype=np.uint8).reshape(3, 4, 5))
    found = cb.import_file("raw.npy", "new.zarr/raw", voxel_size=(8, 4, 4), units="nm", progress=False)
    assert (found.shape, found.voxel_size, found.units) == ((3, 4, 5), (8, 4, 4), ("nm",) * 3)
    assert whole(Volume(path=Path("new.zarr/raw"))).sum() == np.arange(60).sum()
    with pytest.raises(cb.BadInput, match="crop"):
        cb.import_file("raw.npy", "new.zarr/more", crop="z=0:9", progress=False)
    assert not Path("new.zarr/more").exists()


def test_a_mode_that_there_is_not_is_refused(in_tmp: Path) -> None:
    """And so is a folder that is no experiment."""
    with pytest.raises(cb.BadInput, match="mode: no such mode; got head"):
        cb.train(in_tmp, "head")  # type: ignore[arg-type]
    with pytest.raises(cb.BadInput, match="param_dict"):
        cb.train(in_tmp)


@pytest.mark.parametrize("name", [name for name in modules("contraband") if name.startswith("contraband/commands/")])
def test_commands_do_what_the_interface_does(name: str) -> None:
    """What the interface alone calls is imported by no command: there is one way to do a thing."""
    nodes = [node for node in ast.walk(tree(name)) if isinstance(node, ast.ImportFrom)]
    assert not OWN & {alias.name for node in nodes for alias in node.names}


def test_the_version_is_said_in_one_place(capsys: pytest.CaptureFixture[str]) -> None:
    """`contraband --version`, `contraband.__version__` and pyproject.toml agree."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert cb.__version__ == wanted
    assert call(["--version"]) == 0
    assert capsys.readouterr().out == f"contraband {wanted}\n"


PROGRAM = """
import numpy
import contraband as cb
import blockwise as bw

settings = cb.load_settings("vol.yaml", ["cluster.kind=none"])
rows: list[dict[str, object]] = cb.run(settings, last="segment", progress=False)
result: cb.Result = cb.open_result(settings)
part: numpy.ndarray = result.segments(0.5)[3]
scores = cb.evaluate(settings)["best"]
seconds: float = cb.plan(settings).probe().wall_seconds
shape: tuple[int, ...] = cb.import_file("a.npy", "b.zarr/raw", units="nm").shape
class Own(bw.Stage):
    name = "own"
    def grid(self) -> bw.Grid:
        return bw.Grid(self.name, (8, 8, 8), (4, 4, 4))
    def process(self, block: bw.Block, store: bw.Store) -> None:
        print(block.write_roi.shape, store.totals(self.name).done)
with bw.InProcess(bw.open_store("sqlite:///a.db")) as executor:
    done: list[bw.StageResult] = bw.run_stages([Own()], bw.open_store("sqlite:///a.db"), executor)
"""
WRONG = """
cb.runn(settings)
cb.run("vol.yaml")
cb.train("experiments", "head")
bw.Nonsense
"""


@pytest.mark.slow
def test_a_users_program_is_checked_by_mypy(tmp_path: Path) -> None:
    """What is right passes `mypy --strict`; a wrong name, type or mode is an error in its line."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM + WRONG)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(program)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    first = PROGRAM.count("\n") + 2
    assert [int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line] == [
        first + place for place in range(WRONG.count("\n") - 1)
    ], done.stdout
