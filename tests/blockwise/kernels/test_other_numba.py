"""With a numba that has changed inside, kernels work as before; they only take longer to load."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from blockwise.kernels.watershed import label as watershed
from blockwise.kernels.watershed.rules import WatershedRules
from tests.support.paths import ROOT

LACKING = """
import builtins
plain = builtins.__import__

def lacking(name, globals=None, locals=None, fromlist=(), level=0):
    if (globals or {{}}).get("__name__") == "blockwise.kernels.cached" and "{name}" in (fromlist or ()):
        raise ImportError("cannot import name {name}")
    return plain(name, globals, locals, fromlist, level)

builtins.__import__ = lacking
"""

OTHER_ARGUMENTS = """
from numba.core.caching import FunctionCache
plain = FunctionCache.load_overload

def load_overload(self, signature, context, options=None):
    return plain(self, signature, context)

FunctionCache.load_overload = load_overload
"""

NOTHING_TO_INITIALIZE = """
from types import SimpleNamespace
import blockwise.kernels.cached as cached
cached.rtsys = SimpleNamespace()
cached.check_numba = lambda: None
"""

INSIDES = {
    "": "KernelCache",
    LACKING.format(name="rtsys"): "FunctionCache",
    LACKING.format(name="IndexDataCacheFile"): "FunctionCache",
    OTHER_ARGUMENTS: "FunctionCache",
    NOTHING_TO_INITIALIZE: "KernelCache",
}
"""How numba may be inside, and whose cache is used with it."""

MIX = """
import numpy as np
from blockwise.kernels.compiled import mix64
print(type(mix64._cache).__name__, mix64(np.uint64(7)), sum(mix64.stats.cache_hits.values()))
"""

LABEL = """
import numpy as np
from blockwise.kernels.watershed import label as watershed
from blockwise.kernels.watershed.rules import WatershedRules
rules, shape = WatershedRules(), (9, 9, 9)
affinities = np.random.default_rng(0).integers(0, 255, (3, *shape), np.uint8)
ids, _ = watershed.label_block(affinities, watershed.window(rules, shape, (0, 0, 0), shape), rules)
print(ids.tobytes().hex())
"""


def run(code: str, folder: Path) -> list[str]:
    """Words that a new process prints which keeps compiled code in this folder."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split()


@pytest.mark.parametrize("inside", INSIDES)
def test_kernels_do_without_what_numba_keeps_to_itself(inside, tmp_path):
    """Whatever is gone, a kernel gives the same number, and a second process finds it compiled on disk."""
    wanted = [INSIDES[inside], "7191089600892374487"]
    assert run(inside + MIX, tmp_path)[:2] == wanted
    assert run(inside + MIX, tmp_path) == [*wanted, "1"]


def test_a_changed_numba_gives_the_same_fragments(tmp_path):
    """Bit for bit."""
    rules, shape = WatershedRules(), (9, 9, 9)
    affinities = np.random.default_rng(0).integers(0, 255, (3, *shape), np.uint8)
    ids, _ = watershed.label_block(affinities, watershed.window(rules, shape, (0, 0, 0), shape), rules)
    assert run(OTHER_ARGUMENTS + LABEL, tmp_path) == [ids.tobytes().hex()]
