"""Kinds of processors: told, and not mixed within a prediction unless that is wanted."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import contraband as cb
from blockwise.arrays.volume import Volume, info, open_array
from blockwise.cluster.settings import Cluster
from blockwise.errors import BadInput
from blockwise.store import open_store
from contraband.models.engines.processor import instruction_sets, named_in
from contraband.volumes.processors import are_workers_here, processor_of
from contraband.volumes.settings import VolumeSettings
from tests.contraband.volumes.test_foreground import settings as predicted

OTHER = "x86_64 avx avx2 fma avx512f"


def chosen(folder: Path, **model: object) -> VolumeSettings:
    """A volume of several blocks, predicted by a checkpoint in this process."""
    content = predicted(folder, "a", 3, (8, 10, 12)).model_dump(mode="json", exclude_defaults=True)
    content["model"] |= model
    return VolumeSettings.parse({**content, "cluster": {"kind": "none"}}, "test")


def processors(settings: VolumeSettings) -> object:
    """What is stored with the affinities."""
    return info(Volume(path=settings.output / "affinities")).attributes.get("processors")


def begun_elsewhere(settings: VolumeSettings, left: int) -> None:
    """A prediction by another processor that has so many blocks left."""
    cb.run(settings, last="predict", progress=False)
    affinities = Volume(path=settings.output / "affinities")
    open_array(affinities, "r+").attrs["processors"] = [OTHER]
    identity = str(json.loads((settings.output / "zarr.json").read_text())["attributes"]["run"])
    with closing(open_store(settings.store_url, identity)) as store:
        (made,) = store.stages()
        keys = np.array([block.key for block in made.grid.blocks()], np.int64)
        store.keep("predict", keys[left:], made.fingerprint)


def test_the_report_names_the_processor(tmp_path: Path) -> None:
    """By its instruction sets."""
    settings = chosen(tmp_path)
    cb.run(settings, last="predict", progress=False)
    report = json.loads((settings.output / "report.json").read_text())
    assert report["stages"]["predict"]["processors"] == [instruction_sets()]


def test_a_prediction_of_another_processor_is_not_gone_on_with(tmp_path: Path) -> None:
    """Refused in a line, unless it is wanted; then both are told."""
    begun_elsewhere(chosen(tmp_path), left=3)
    with pytest.raises(BadInput, match=r"other instructions.*other_processors: true") as raised:
        cb.run(chosen(tmp_path), last="predict", progress=False)
    assert "\n" not in str(raised.value)
    assert processors(chosen(tmp_path)) == [OTHER]
    cb.run(chosen(tmp_path, other_processors=True), last="predict", progress=False)
    assert processors(chosen(tmp_path)) == [OTHER, instruction_sets()]


def test_a_finished_prediction_is_used_anywhere(tmp_path: Path) -> None:
    """Nothing is computed, so nothing is mixed."""
    begun_elsewhere(chosen(tmp_path), left=0)
    cb.run(chosen(tmp_path), last="predict", progress=False)
    assert processors(chosen(tmp_path)) == [OTHER]


def test_a_prediction_with_nothing_finished_is_of_the_new_processor(tmp_path: Path) -> None:
    """As after its blocks became stale."""
    begun_elsewhere(chosen(tmp_path), left=8)
    cb.run(chosen(tmp_path), last="predict", progress=False)
    assert processors(chosen(tmp_path)) == [instruction_sets()]


@pytest.mark.parametrize(
    ("said", "machine", "found"),
    [
        ("processor : 0\nflags\t\t: fpu avx2 fma avx sse\n\nflags : avx512f", "x86_64", "x86_64 avx avx2 fma"),
        ("Features\t: fp asimd sve", "aarch64", "aarch64 asimd sve"),
        ("processor : 0", "riscv64", None),
    ],
)
def test_instruction_sets_are_read_from_what_linux_says(said: str, machine: str, found: str | None) -> None:
    """Those of the first processor that programs ask for, in one order; None where nothing is said."""
    assert named_in(said, machine) == found


@pytest.mark.parametrize(
    "cluster", [{"kind": "slurm", "memory": "4GB"}, {"kind": "local", "address": "tcp://192.0.2.1:8786"}]
)
def test_processors_of_other_machines_are_not_known(cluster: dict[str, str]) -> None:
    """So nothing is told of them."""
    assert not are_workers_here(Cluster.parse(cluster, "test"))
    assert are_workers_here(Cluster())
    assert processor_of("torch", "cuda") is None
    assert processor_of("openvino", "auto") == instruction_sets()
