"""Filters of HDF5 that do not come with it."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

import h5py
from h5py import h5z

from blockwise.errors import BadInput

FILTERS = {
    32000: "lzf",
    32001: "blosc",
    32004: "lz4",
    32008: "bitshuffle",
    32013: "zfp",
    32015: "zstd",
    32019: "jpeg",
    32026: "blosc2",
}
"""Their names, by their number."""


def check_filters(path: Path, data: h5py.Dataset) -> None:
    """Raise BadInput naming the package to install, if chunks are packed by a filter that is not there."""
    if importlib.util.find_spec("hdf5plugin"):
        importlib.import_module("hdf5plugin")  # registers its filters
    packing = data.id.get_create_plist()
    for number in range(packing.get_nfilters()):
        code, _, _, name = packing.get_filter(number)
        if not h5z.filter_avail(code):
            called = FILTERS.get(code) or name.decode("utf-8", "replace") or "unknown"
            raise BadInput(
                f"{path}:{data.name}",
                f"is packed by the filter {called} (HDF5 filter {code}), which is not installed",
                todo="pip install hdf5plugin",
            )
