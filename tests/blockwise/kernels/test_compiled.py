"""Compiled functions are kept on disk and run beside other threads."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from blockwise.kernels.compiled import mix64
from blockwise.kernels.links import label_links, link_voxels
from blockwise.kernels.merging import merge_queue
from tests.blockwise.kernels.volumes import slow_mix64
from tests.paths import ROOT

LABEL = """
import numpy as np
from blockwise.kernels import links, watershed
rules, shape = watershed.Rules(), (9, 9, 9)
at = watershed.window(rules, shape, (0, 0, 0), shape)
watershed.label_block(np.zeros((3, *shape), np.uint8), at, rules)
print(sum(links.link_voxels.stats.cache_hits.values()), sum(links.link_voxels.stats.cache_misses.values()))
"""


def test_mixing_is_splitmix64():
    """The tie key is the published function, so that it never changes."""
    assert int(mix64(np.uint64(0))) == 0xE220A8397B1DCDAF
    for value in (1, 2**40 + 7, 2**64 - 1):
        assert int(mix64(np.uint64(value))) == slow_mix64(value)


def test_a_second_process_compiles_nothing():
    """What one process compiled, the next one loads from disk."""
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", LABEL], cwd=ROOT, capture_output=True, text=True, check=True
        )
    assert done.stdout.split() == ["1", "0"]


def test_kernels_release_the_lock():
    """A worker can answer while a kernel runs."""
    for kernel in (link_voxels, label_links, merge_queue):
        assert kernel.targetoptions["nogil"]
