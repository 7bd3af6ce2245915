"""Compiled functions are kept on disk and run beside other threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from blockwise.kernels.compiled import mix64
from blockwise.kernels.graph.merging import merge_queue
from blockwise.kernels.watershed.links import _label, link_voxels
from tests.support.affinities import slow_mix64
from tests.support.paths import ROOT

LABEL = """
import sys
import numpy as np
from blockwise.kernels import tables
from blockwise.kernels.graph import agglomeration
from blockwise.kernels.graph import edges
from blockwise.kernels.graph.rules import MergeRules
from blockwise.kernels.watershed import links
from blockwise.kernels.watershed import label as watershed
from blockwise.kernels.watershed.rules import WatershedRules
rules, shape = WatershedRules(), (9, 9, 9)
at = watershed.window(rules, shape, (0, 0, 0), shape)
affinities = np.random.default_rng(0).integers(0, 255, (3, *shape), np.uint8)
ids, _ = watershed.label_block(affinities, at, rules)
found = edges.count_edges(ids, affinities, ((-1, 0, 0), (0, -1, 0), (0, 0, -1)), (0, 0, 0))
tree = agglomeration.agglomerate(found, 255, MergeRules(), nodes=tables.distinct(ids))
tables.relabel(ids, tree.fragment, tree.parent)
hits, misses = links.link_voxels.stats.cache_hits, links.link_voxels.stats.cache_misses
print(sum(hits.values()), sum(misses.values()), "scipy.linalg" in sys.modules, "numba.np.arrayobj" in sys.modules)
"""

CALLED = """
import numpy as np
from blockwise.kernels.compiled import compiled

@compiled
def add_up(values):
    total = np.zeros(1, np.int64)
    for value in values:
        total[0] += value
    return total
"""

CALLER = """
import numpy as np
from called import add_up
from blockwise.kernels.compiled import compiled

@compiled
def squared(values):
    return add_up(values)[0] ** 2

print(add_up(np.arange(5))[0], squared(np.arange(5)))
print(*(sum(kernel.stats.cache_hits.values()) for kernel in (add_up, squared)))
"""


def test_mixing_is_splitmix64():
    """The tie key is the published function, so that it never changes."""
    assert int(mix64(np.uint64(0))) == 0xE220A8397B1DCDAF
    for value in (1, 2**40 + 7, 2**64 - 1):
        assert int(mix64(np.uint64(value))) == slow_mix64(value)


def test_a_second_process_compiles_nothing():
    """What one process compiled, the next one loads from disk, without the libraries that only the compiler needs."""
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", LABEL], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "0", "False", "False"]


def test_a_loaded_function_can_be_compiled_into_another(tmp_path: Path):
    """Its second copy is there when it is needed, and a change in the called file makes the caller stale."""
    (tmp_path / "called.py").write_text(CALLED)
    (tmp_path / "caller.py").write_text(CALLER)

    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run(code: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    assert run("import called, numpy; print(called.add_up(numpy.arange(5))[0])") == ["10"]
    assert run("import caller") == ["10", "100", "1", "0"]
    assert run("import caller") == ["10", "100", "1", "1"]
    (tmp_path / "called.py").write_text(CALLED.replace("+= value", "+= 2 * value"))
    assert run("import caller") == ["20", "400", "0", "0"]


def test_kernels_release_the_lock():
    """A worker can answer while a kernel runs."""
    for kernel in (link_voxels, _label, merge_queue):
        assert kernel.targetoptions["nogil"]
