"""Bytes that were read at addresses a moment ago: what is kept, for how long, and that pieces make a whole."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from funlib.geometry import Roi

from blockwise.arrays.volume import Volume, create, read, write
from blockwise.files.address import place_of
from blockwise.files.recent import WHOLE, Recent, recent
from blockwise.files.traffic import meter
from tests.support.buckets import BUCKET, environment, s3_server

SHAPE, SHARD = (64, 64, 128), (64, 64, 64)


@pytest.fixture
def stage() -> Iterator[None]:
    """A stage has begun."""
    recent().begin("a stage")
    yield
    recent().begin("")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Volume, np.ndarray]]:
    """Two shards of eight chunks each in a bucket, and what is in them."""
    with s3_server(tmp_path_factory.mktemp("s3") / "data") as endpoint, pytest.MonkeyPatch.context() as patch:
        for name, value in environment(endpoint).items():
            patch.setenv(name, value)
        volume = Volume(path=place_of(f"s3://{BUCKET}/vol.zarr/raw"))
        create(volume, SHAPE, "uint8", SHARD)
        data = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)
        write(volume, Roi((0, 0, 0), SHAPE), data)
        yield volume, data


def taken() -> int:
    """Bytes that were read since this was last asked."""
    passed = meter().take()
    return passed.read_bytes if passed else 0


def test_nothing_is_kept_outside_of_a_stage() -> None:
    """Who reads without having begun, and whoever begins another stage, finds nothing."""
    one = Recent()
    one.put("a", WHOLE, b"abc")
    assert one.get("a", WHOLE) is None
    one.begin("first")
    one.put("a", WHOLE, b"abc")
    one.begin("first")
    assert one.get("a", WHOLE) == b"abc"
    one.begin("second")
    assert one.get("a", WHOLE) is None


def test_what_lies_within_the_whole_is_known() -> None:
    """Ranges and ends of an object that is kept; the ranges that were kept before are not held twice."""
    one = Recent(limit_bytes=12)
    one.begin("a stage")
    one.put("a", (2, 4), b"cd")
    assert one.pieces("a") == [(2, b"cd")]
    one.put("a", WHOLE, b"abcdefghij")
    assert (one.get("a", (2, 4)), one.get("a", (-3, None)), one.get("a", WHOLE)) == (b"cd", b"hij", b"abcdefghij")
    assert one.pieces("a") == [(0, b"abcdefghij")]
    one.put("b", WHOLE, b"xy")
    assert one.get("a", WHOLE) is not None


def test_the_oldest_goes() -> None:
    """What was wanted again lately stays; more than the limit is never held."""
    one = Recent(limit_bytes=8)
    one.begin("a stage")
    for name in "abcd":
        one.put(name, WHOLE, b"12")
    assert one.get("a", WHOLE) == b"12"
    one.put("e", WHOLE, b"1234")
    assert [name for name in "abcde" if one.get(name, WHOLE)] == ["a", "d", "e"]
    one.put("f", WHOLE, b"123456789")
    assert not any(one.get(name, WHOLE) for name in "abcdef")


def test_of_a_whole_object_the_pages_go_that_nobody_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those wanted lately stay, are found wherever a range begins, and what is left comes once, in order."""
    monkeypatch.setattr("blockwise.files.recent.PAGE_BYTES", 4)
    one = Recent(limit_bytes=14)
    one.begin("a stage")
    one.put("a", WHOLE, b"abcdefghijklm")
    assert one.get("a", (-2, None)) == b"lm"
    assert one.get("a", (3, 6)) == b"def"
    one.put("b", WHOLE, b"xy")
    assert one.get("a", (3, 6)) == b"def"
    assert one.get("a", (8, 12)) is None
    assert one.get("a", WHOLE) is None
    one.put("a", (6, 10), b"ghij")
    assert one.pieces("a") == [(0, b"abcd"), (4, b"efgh"), (8, b"ij")]


def test_a_neighbour_is_read_once(stored: tuple[Volume, np.ndarray], stage: None) -> None:
    """A shard whose nearest chunks were read for the block before is asked for the others only, and then for none."""
    volume, data = stored
    taken()
    assert np.array_equal(read(volume, Roi((0, 0, 0), (64, 64, 65))), data[..., :65])
    first = taken()
    assert np.array_equal(read(volume, Roi((0, 0, 63), (64, 64, 65))), data[..., 63:])
    second = taken()
    assert 1.4 * 64**3 < first < 1.6 * 64**3
    assert 0.4 * 64**3 < second < 0.6 * 64**3
    assert np.array_equal(read(volume, Roi((0, 0, 0), SHAPE)), data)
    assert taken() < 2000  # what describes the array


@pytest.mark.parametrize("seed", range(4))
def test_pieces_make_the_whole(stored: tuple[Volume, np.ndarray], stage: None, seed: int) -> None:
    """Whatever was read before, in whatever order."""
    volume, data = stored
    rng = np.random.default_rng(seed)
    for _ in range(8):
        begin = rng.integers(0, [60, 60, 124])
        size = rng.integers(1, np.array(SHAPE) - begin + 1)
        box = Roi(begin.tolist(), size.tolist())
        assert np.array_equal(read(volume, box), data[box.to_slices()])
    assert np.array_equal(read(volume, Roi((0, 0, 0), SHAPE)), data)


def test_what_is_written_is_read_anew(stored: tuple[Volume, np.ndarray], stage: None) -> None:
    """The same process does not take the old bytes for those that it has written itself."""
    volume, data = stored
    box = Roi((0, 0, 64), SHARD)
    before = read(volume, box)
    write(volume, box, 255 - before)
    assert np.array_equal(read(volume, box), 255 - before)
    write(volume, box, before)
    assert np.array_equal(read(volume, Roi((0, 0, 0), SHAPE)), data)
