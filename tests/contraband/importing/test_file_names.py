"""Files with names that mean something to shells, and read in the order that people expect."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from contraband.cli import call
from tests.contraband.importing import test_importers as formats
from tests.support.volumes import store_volume

SAVES = [
    formats.save_npz,
    formats.save_npy,
    formats.save_tiff,
    formats.save_folder,
    formats.save_hdf5,
    formats.save_zarr,
    formats.save_n5,
]


@pytest.mark.parametrize("name", ["$x", "~y", "${x}", "[a]", "a b*?", "#1", "x=1", "%d", "ü"])
@pytest.mark.parametrize("save", SAVES, ids=lambda save: save.__name__)
def test_a_file_of_any_name_is_read(save, name, in_tmp):
    """In every format, also within a folder of such a name."""
    saved = save(in_tmp, np.random.default_rng(0).integers(0, 255, (5, 6, 7), dtype=np.uint8))
    path = Path(f"{name}{saved.suffix}")
    os.rename(saved, path)
    assert call(["import", str(path), "v.zarr/raw", *(["--name", "raw"] if save is formats.save_npz else [])]) == 0
    Path(name).mkdir(exist_ok=True)
    path = path.rename(f"{name}/{name}{saved.suffix}") if path != Path(name) else path
    assert call(["import", str(path), f"{name}/v.zarr/raw"]) == 0
    for target in (Path("v.zarr/raw"), Path(f"{name}/v.zarr/raw")):
        assert formats.read(target).shape == (5, 6, 7)


@pytest.mark.parametrize(("name", "called"), [("$x", "x"), ("~y", "y"), ("${x}", "x-"), ("-z", "z"), ("$", "image")])
def test_start_with_an_image_of_such_a_name_makes_settings_that_are_read(name, called, in_tmp):
    """What is made of its name begins with a letter or number, as commands would take it for an option."""
    noise = np.random.default_rng(0).integers(0, 60, (1, 48, 48), dtype=np.uint8)
    noise[:, 10:20, 10:20] = noise[:, 28:40, 25:40] = 200
    store_volume(Path(name) / f"{name}.zarr", noise)
    assert call(["start", f"./{name}/{name}.zarr", "--kind", "nuclei"]) == 0
    assert call(["status", f"{called}.yaml"]) == 0
