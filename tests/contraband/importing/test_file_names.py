"""Files with names that mean something to shells, and read in the order that people expect."""

from __future__ import annotations

import os
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from contraband.cli import call
from contraband.importing.order import in_order
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


ORDERS = [
    ("slice-1|slice-2|slice-10", False),
    ("1-1|1-2|1-10", False),
    ("2020-01-31|2020-02-01", False),
    ("a-1-z-2|a-1-z-10", False),
    ("scan--1|scan--2|scan--10", False),
    ("scan -1|scan -2", False),
    ("z-10|z-2|z0|z1|z2", True),
    ("z-2_raw|z-1_raw|z0_raw", True),
    ("z--2|z--1|z-0|z-1", True),
    ("z-1|z+0|z+1", True),
    ("z_-10|z_-2|z_0", True),
    ("z_-2|z_-1", True),
    ("z=-2|z=-1", True),
    ("-2|-1|0|1", True),
    ("-2um|-1um", True),
    ("z\N{MINUS SIGN}2|z\N{MINUS SIGN}1|z0", True),
    ("1|2|10|a|\N{SUPERSCRIPT TWO}1", False),
]


@pytest.mark.parametrize("suffix", ["tif", "png"])
@pytest.mark.parametrize(("names", "has_signs"), ORDERS, ids=lambda value: value if isinstance(value, str) else "")
def test_sections_come_by_their_numbers(names, has_signs, suffix, in_tmp, capsys):
    """A dash is a separator, unless the names as a whole tell that it is a sign; which order was taken is said."""
    files = [f"{name}.{suffix}" for name in names.split("|")]
    Path("stack").mkdir()
    for number, name in reversed(list(enumerate(files))):
        section = np.full((4, 6), number, np.uint8)
        if suffix == "tif":
            tifffile.imwrite(Path("stack") / name, section)
        else:
            Image.fromarray(section).save(Path("stack") / name)
    assert call(["import", "stack", "v.zarr/raw"]) == 0
    assert formats.read(Path("v.zarr/raw"))[:, 0, 0].tolist() == list(range(len(files)))
    said = "".join(capsys.readouterr())
    assert f"a section per file from {files[0]} to {files[-1]}" in said
    assert (f"a minus before a number is its sign here: {files[0]} comes first, {files[-1]} last" in said) == has_signs


def test_names_that_differ_by_zeros_only_have_one_order(in_tmp):
    """It does not depend on the order in which a disk lists them."""
    files = [Path("001"), Path("01"), Path("1"), Path("02")]
    for shuffled in permutations(files):
        assert [one.path for one in in_order(shuffled)] == files
