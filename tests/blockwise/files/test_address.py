"""Addresses are used like paths, and what they must not hold or cannot do is said in one line."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from blockwise.arrays.volume import Volume
from blockwise.errors import BadInput
from blockwise.fields import Place, VolumePlace
from blockwise.files.address import Address, address_in, on_disk, place_of
from blockwise.settings import Settings


class Named(Settings):
    """A volume, and a file."""

    volume: VolumePlace | None = None
    file: Place | None = None


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/a/vol.zarr/raw",
        "https://host:8080/vol.zarr",
        "az://box/vol.zarr",
        "synthetic://7/labels?shape=8,9,10",
    ],
)
def test_an_address_reads_as_it_was_typed(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a path, which loses a slash, settings, JSON, and the way to a worker; variables are replaced."""
    monkeypatch.setenv("REST", text.partition("://")[2])
    for found in (
        place_of(text),
        place_of(Path(text)),
        Named.parse({"volume": text}, "test").volume,
        Named.parse({"volume": f"{text.partition('://')[0]}://${{REST}}"}, "test").volume,
        Volume(path=Path(text)).path,
        copy.deepcopy(Volume(path=Path(text))).path,  # as pickle does it
    ):
        assert isinstance(found, Address)
        assert str(found) == text
        assert found == place_of(text)
    assert Named.parse({"volume": text}, "test").model_dump(mode="json")["volume"] == text


def test_addresses_are_joined_like_paths() -> None:
    """Names are added and taken off; above the bucket there is nothing."""
    array = place_of("s3://bucket/out/vol.zarr") / "segments" / "0.5"
    assert str(array) == "s3://bucket/out/vol.zarr/segments/0.5"
    assert array.name == "0.5"
    assert str(array.parent.parent) == "s3://bucket/out/vol.zarr"
    assert [str(one) for one in array.parents][-2:] == ["s3://bucket/out", "s3://bucket"]
    assert array.is_relative_to(place_of("s3://bucket/out"))
    assert array.relative_to(place_of("s3://bucket/out")).as_posix() == "vol.zarr/segments/0.5"
    assert array.absolute() == array.resolve() == array
    assert array != place_of("s3://other/out/vol.zarr/segments/0.5")


def test_a_path_stays_the_path_it_is() -> None:
    """Also where a name in it has a colon."""
    for text in ("data/vol.zarr/raw", "/data/vol.zarr", "a:b/c", "s3/bucket"):
        assert place_of(text) == Path(text)
        assert type(place_of(text)) is type(Path())
        assert on_disk(Path(text)) == Path(text)
        assert address_in(text) is None


def test_what_is_no_array_lies_in_the_working_folder() -> None:
    """Under the name of the address, so that no two outputs share it."""
    assert on_disk(place_of("s3://bucket/out/vol.zarr")) == Path("s3/bucket/out/vol.zarr")
    assert type(on_disk(place_of("s3://bucket/out/vol.zarr"))) is type(Path())


def test_an_address_is_never_taken_for_a_file(in_tmp: Path) -> None:
    """Whatever would open it, or make a folder of its name, says in one line that it cannot."""
    place = place_of("s3://bucket/vol.zarr")
    for use in (place.open, place.mkdir, place.stat, lambda: place.write_text("x")):
        with pytest.raises(BadInput, match=r"s3://bucket/vol\.zarr: is an address, and this must be on a local disk"):
            use()
    assert not list(in_tmp.iterdir())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("https://me:SESAME@host/vol.zarr", "must not hold a user or password"),
        ("s3://key:SESAME@bucket/vol.zarr", "must not hold a user or password"),
        ("https://host/vol.zarr?signature=SESAME", "must not hold \\? or #"),
        ("ftp://host/vol.zarr", "of a kind that is not known here: s3, gs, az, http, https, synthetic"),
        ("s3://", "names no bucket"),
        ("synthetic://", "followed by a seed, a whole number"),
        ("synthetic://name?shape=8,8,8", "followed by a seed, a whole number"),
        ("synthetic://7/masks?shape=8,8,8", "there are affinities and labels"),
        ("synthetic://7", "is told its shape, once"),
        ("synthetic://7?shape=8,8,8&shape=9,9,9", "is told its shape, once"),
        ("synthetic://7?shape=8,8,8&colour=red", "is told its shape, once, and may be told its voxel_size: synth"),
        ("synthetic://7?shape=8,8", "three numbers above 0, along z, y, x"),
        ("synthetic://7?shape=8,8,0", "three numbers above 0, along z, y, x"),
        ("synthetic://7?shape=8,8,1.5", "three whole numbers up to 16777216"),
        ("synthetic://7?shape=8,8,99999999", "three whole numbers up to 16777216"),
        ("synthetic://7?shape=8,8,8&voxel_size=4,4,nan", "three numbers above 0, along z, y, x"),
    ],
)
def test_addresses_that_cannot_be_used_are_refused(text: str, reason: str) -> None:
    """With the reason, and without the password in what is printed."""
    for key in ("volume", "file"):
        with pytest.raises(BadInput, match=f"test: {key}: .*{reason}") as raised:
            Named.parse({key: text}, "test")
        assert "SESAME" not in str(raised.value)


def test_files_that_are_no_volumes_have_no_address() -> None:
    """A checkpoint or a table of points must be on a disk."""
    with pytest.raises(BadInput, match=r"file: s3://bucket/a\.pt is an address, and this must be on a local disk"):
        Named.parse({"file": "s3://bucket/a.pt"}, "test")
