"""Objects are written, read and named at addresses; what is wrong with them is said within seconds, in one line."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from blockwise.errors import BadInput, OutOfReach
from blockwise.files import objects
from blockwise.files.address import place_of
from tests.support.buckets import BUCKET, KEY, SECRET, environment, proxy, s3_server
from tests.support.servers import free_port

ROOT = f"s3://{BUCKET}"


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with one bucket."""
    with s3_server(tmp_path_factory.mktemp("s3") / "data") as address:
        yield address


@pytest.fixture(autouse=True)
def known(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment says where the server is; nobody's own files are read."""
    use(monkeypatch, endpoint)
    monkeypatch.setenv("HOME", str(tmp_path))


def use(monkeypatch: pytest.MonkeyPatch, endpoint: str, key: str = KEY) -> None:
    """Have the environment say where a server is, and who asks."""
    for name, value in environment(endpoint, key).items():
        monkeypatch.setenv(name, value)


def test_an_object_is_there_or_not() -> None:
    """Written, read, named and removed again, with all below it; its tag is another one when it is."""
    folder = place_of(f"{ROOT}/one/folder")
    assert not folder.exists()
    assert objects.tag(f"{folder}/a") is None
    objects.put(f"{folder}/a", b"first")
    first = objects.tag(f"{folder}/a")
    objects.put(f"{folder}/a", b"other")
    objects.put(f"{folder}/b/c", b"")
    assert first not in (None, objects.tag(f"{folder}/a"))
    assert (folder / "a").is_file()
    assert (folder / "a").read_bytes() == b"other"
    assert folder.is_dir()
    assert not place_of(f"{ROOT}/one/fold").exists()
    assert [path.name for path in folder.iterdir()] == ["a", "b"]
    objects.remove(str(folder))
    assert not folder.exists()
    with pytest.raises(FileNotFoundError):
        (folder / "a").read_text()


@pytest.mark.parametrize("fault", ["503", "429", "cut", "lost", "torn"])
def test_requests_that_fail_are_sent_again(fault: str, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each kind, whichever way they fail: throttled, refused, cut off in the answer or on the way there."""
    with proxy(endpoint, [fault], every=2) as server:
        use(monkeypatch, server.address)
        folder = place_of(f"{ROOT}/{fault}")
        for number in range(3):
            objects.put(f"{folder}/{number}/zarr.json", str(number).encode() * 1000)
        for number in range(3):
            assert not (folder / "none").exists()
            assert (folder / str(number) / "zarr.json").read_bytes() == str(number).encode() * 1000
            assert [path.name for path in folder.iterdir()] == ["0", "1", "2"]
        objects.remove(str(folder))
        assert not folder.exists()
    assert server.met[fault] > 5


def test_a_bucket_that_is_not_there_is_named() -> None:
    """With the address that was asked for, and not taken for a volume that is missing."""
    with pytest.raises(BadInput, match=r"s3://none/vol\.zarr\S*: there is no bucket s3://none; check its name"):
        place_of("s3://none/vol.zarr").exists()


def test_wrong_keys_are_refused_without_being_shown(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line says why, as the server says it."""
    with proxy(endpoint) as server:
        use(monkeypatch, server.address, "an-unknown-key")
        with pytest.raises(BadInput, match=r"access is refused \(InvalidAccessKeyId\)") as raised:
            place_of(f"{ROOT}/vol.zarr").exists()
    assert "an-unknown-key" not in str(raised.value)
    assert SECRET not in str(raised.value)


def test_a_server_that_does_not_answer_is_given_up_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever mistyped the endpoint does not wait for minutes."""
    use(monkeypatch, f"http://127.0.0.1:{free_port()}")
    begin = time.monotonic()
    with pytest.raises(OutOfReach, match=r"s3://volumes/vol\.zarr\S*: does not answer.* a copy on a local disk"):
        place_of(f"{ROOT}/vol.zarr").exists()
    assert time.monotonic() - begin < 15


def test_http_is_used_only_where_it_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line names the variable."""
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    with pytest.raises(BadInput, match="the endpoint is not https; set AWS_ALLOW_HTTP=true"):
        place_of(f"{ROOT}/vol.zarr").exists()


def test_credentials_are_read_from_the_usual_files(
    endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Those of the profile in use, with its region; the environment comes first."""
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        "[default]\naws_access_key_id = other\naws_secret_access_key = x\n"
        f"[lab]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"
    )
    (tmp_path / ".aws" / "config").write_text("[profile lab]\nregion = eu-central-1\noutput = json\n")
    with proxy(endpoint) as server:
        for name in environment(server.address):
            if name.startswith("AWS_") and name != "AWS_ALLOW_HTTP":
                monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.address)
        with pytest.raises(BadInput, match="access is refused"):
            place_of(f"{ROOT}/vol.zarr").exists()
        monkeypatch.setenv("AWS_PROFILE", "lab")
        assert not place_of(f"{ROOT}/vol.zarr").exists()
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "other")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
        with pytest.raises(BadInput, match="access is refused"):
            place_of(f"{ROOT}/vol.zarr").exists()


def test_without_the_extra_one_line_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a failed import."""
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")  # none that was asked before
    with pytest.raises(BadInput, match=r'obstore, which is not installed; pip install "contraband\[cloud\]"'):
        place_of(f"{ROOT}/vol.zarr").exists()


def test_the_web_is_only_read(endpoint: str) -> None:
    """Objects are read over http as they are, and nothing is listed there."""
    objects.put(f"{ROOT}/web/zarr.json", b"{}")
    assert place_of(f"{endpoint}/{BUCKET}/web").is_dir()
    assert (place_of(f"{endpoint}/{BUCKET}/web") / "zarr.json").read_text() == "{}"
    assert not place_of(f"{endpoint}/{BUCKET}/none").exists()
