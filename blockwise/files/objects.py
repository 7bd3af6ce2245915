"""Objects at addresses: the buckets they lie in, opened once in a process, and why one cannot be had.

An address is `s3://BUCKET/KEY`, `gs://...`, `az://CONTAINER/KEY` or `http(s)://HOST/KEY`; here it is text. Needs the
extra `cloud`; its package is loaded when the first address is used.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from blockwise.errors import BadInput, OutOfReach
from blockwise.files.traffic import meter

BACKOFF = {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=15), "base": 2}
"""A request that failed is sent again after a random wait, of a length that doubles: many workers fail at a time."""
BRIEF = {
    "retry_config": {"backoff": BACKOFF, "max_retries": 5, "retry_timeout": timedelta(seconds=6)},
    "client_options": {"connect_timeout": timedelta(seconds=3), "timeout": timedelta(seconds=4)},
}
"""For the first word with a bucket: whoever mistyped its name waits for the answer."""
PATIENT = {
    "retry_config": {"backoff": BACKOFF, "max_retries": 12, "retry_timeout": timedelta(minutes=3)},
    "client_options": {"connect_timeout": timedelta(seconds=5), "timeout": timedelta(minutes=2)},
}
"""For all others: throttling, a restarted server and cut connections pass, and no block has failed."""
SIDE_BY_SIDE = 16
"""Requests under way at a time where there are many."""
WAITS_S = (0.1, 0.5, 2.0)
"""Before answers that were cut off are asked for again."""
ANYTHING = "zarr.json"
"""What a bucket is first asked for; it need not be there."""

_PREFIXES = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}
_ENVIRONMENT = (*_PREFIXES.values(), "HOME")
_ALLOWED = ("allow_http", "allow_invalid_certificates")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_STATUS = re.compile(r"status code: (\d+ \w[\w ]*)")
_WRONG_KEYS = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "AuthenticationFailed")
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")
_KEYS = {
    "aws_access_key_id": {"AWS_ACCESS_KEY_ID"},
    "aws_secret_access_key": {"AWS_ACCESS_KEY_ID"},
    "aws_session_token": {"AWS_ACCESS_KEY_ID"},
    "region": {"AWS_REGION", "AWS_DEFAULT_REGION"},
    "endpoint_url": {"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"},
}
"""What is taken from the files, and the variables that come before it."""


def bucket_of(address: str) -> str:
    """The address of the bucket or host, such as `s3://bucket`."""
    return "/".join(address.split("/")[:3])


def key_of(address: str) -> str:
    """What the object, or all objects below it, are called in the bucket; empty for the bucket itself."""
    return "/".join(address.split("/")[3:])


def bucket(address: str) -> Any:
    """The obstore of the bucket or host, once it has answered; raises BadInput, within seconds, if it does not."""
    said = {name: value for name, value in os.environ.items() if name.startswith(_ENVIRONMENT)}
    _library(address)
    try:
        return _answering(bucket_of(address), tuple(sorted(said.items())))
    except BadInput:
        raise
    except Exception as error:
        raise refusal(error, address) from None


def tag(address: str) -> str | None:
    """Another one whenever the object has been written, None if there is none: its etag, else when and how large."""
    found = _asked(address, lambda obstore, store, key: obstore.head(store, key))
    meter().read()
    return found and str(found["e_tag"] or (found["last_modified"].isoformat(), found["size"]))


def content(address: str) -> bytes | None:
    """An object; None if there is none."""
    data = _asked(address, lambda obstore, store, key: bytes(obstore.get(store, key).bytes()))
    meter().read(len(data or b""))
    return data


def put(address: str, data: bytes | Path) -> None:
    """Write an object, or a file as one, in one request, so that it is there whole or not at all."""
    if _asked(address, lambda obstore, store, key: obstore.put(store, key, data, use_multipart=False)) is None:
        raise BadInput(address, f"cannot be written: {bucket_of(address)} is gone")
    meter().wrote(data.stat().st_size if isinstance(data, Path) else len(data))


def remove(address: str) -> None:
    """Remove an object, and all below it."""

    def removed(obstore: Any, store: Any, key: str) -> None:
        found = [one["path"] for batch in obstore.list(store, key) for one in batch]

        def removed_one(path: str) -> None:
            with suppress(FileNotFoundError):  # by a request whose answer was lost; some stores say so
                obstore.delete(store, path)
            meter().wrote()

        side_by_side(removed_one, [*found, key])

    _asked(address, removed)


def side_by_side[Item](request: Callable[[Item], object], items: Iterable[Item]) -> None:
    """Make a request for each of these."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        for _ in pool.map(request, items):
            pass


def names_below(address: str) -> list[str]:
    """What lies directly below an address, by name, sorted; nothing on the web, where nobody can ask."""
    if address.startswith("http"):
        return []
    found = _asked(address, lambda obstore, store, key: obstore.list_with_delimiter(store, key or None)) or {}
    meter().read()
    objects = [one["path"] for one in found.get("objects", ())]
    return sorted({path.rpartition("/")[2] for path in [*objects, *found.get("common_prefixes", ())]})


def size_below(address: str, most: int) -> int | None:
    """Bytes of all objects below an address; None if there are more of them, or on the web, where nobody can ask."""
    if address.startswith("http"):
        return None

    def listed(obstore: Any, store: Any, key: str) -> int | None:
        size = count = 0
        for batch in obstore.list(store, key):
            meter().read()
            size += sum(one["size"] for one in batch)
            count += len(batch)
            if count > most:
                return None
        return size

    return _asked(address, listed)


def refusal(error: Exception, address: str) -> BadInput:
    """Why a request failed, in one line that holds nothing of the request: its address may hold a signature."""
    import obstore.exceptions as known

    text = str(error)
    code = next(iter(_CODE.findall(text) or _STATUS.findall(text)), type(error).__name__).strip()
    if code in _NO_BUCKET:
        return BadInput(address, f"there is no bucket {bucket_of(address)}", todo="check its name and AWS_ENDPOINT_URL")
    if "169.254.169.254" in text:
        todo = (
            "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; if it is public, AWS_SKIP_SIGNATURE=true;"
            " or name a copy on a local disk"
        )
        return BadInput(address, "no credentials are given", todo=todo)
    if code in _WRONG_KEYS or isinstance(error, known.PermissionDeniedError | known.UnauthenticatedError):
        return BadInput(address, f"access is refused ({code})", todo="check the credentials, and what they may do")
    if "redirect" in text:
        return BadInput(address, "lies in another region", todo="set AWS_REGION")
    if "builder error" in text:
        return BadInput(address, "the endpoint is not https", todo="set AWS_ALLOW_HTTP=true if it shall be used")
    if isinstance(error, known.NotSupportedError):
        return BadInput(address, "the server does not send ranges of files", todo="download it first")
    todo = "check the network, and AWS_ENDPOINT_URL or its like, or name a copy on a local disk"
    return OutOfReach(address, f"does not answer ({code})", todo=todo)


def was_cut_off(error: Exception) -> bool:
    """Whether an answer ended early that obstore does not ask for again: a list of names, or words on an error."""
    return "response body error" in str(error)


@lru_cache(maxsize=64)
def _answering(root: str, environment: tuple[tuple[str, str], ...]) -> Any:  # noqa: ARG001 - it says where and who
    obstore = _library(root)
    try:
        _sent(lambda: obstore.get(_made(root, BRIEF), ANYTHING))
    except FileNotFoundError as error:
        if not root.startswith("http") and any(code in str(error) for code in _NO_BUCKET):
            raise
    except Exception as error:
        # Who may read objects but not list them is told so of any that is missing.
        if "<Code>AccessDenied<" not in str(error) and not (root.startswith("http") and _STATUS.search(str(error))):
            raise
    return _made(root, PATIENT)


def _library(address: str) -> Any:
    try:
        import obstore
    except ModuleNotFoundError:
        what = "object stores and the web are read with the package obstore, which is not installed"
        raise BadInput(address, what, todo='pip install "contraband[cloud]"') from None
    return obstore


def _made(root: str, patience: Mapping[str, Any]) -> Any:
    from obstore.store import from_url

    # Not every server that speaks S3 removes objects by lists of them.
    own: dict[str, Any] = {"config": {"disable_bulk_delete": True, **_said_in_files()}} if root.startswith("s3") else {}
    # Where any of these are given, obstore leaves those aside that the environment has.
    prefix = _PREFIXES.get(root.partition(":")[0], "")
    said = {name: os.environ.get(f"{prefix}{name.upper()}", "").lower() in ("true", "1") for name in _ALLOWED}
    options = patience["client_options"] | said
    if root.startswith("http:"):
        options["allow_http"] = True
    return from_url(f"{root}/", retry_config=patience["retry_config"], client_options=options, **own)


def _said_in_files() -> dict[str, str]:
    """What the files of the AWS command line say for the profile in use, where the environment does not.

    obstore reads the environment, web identities and what a machine of Amazon's is told; these files it does not.
    """
    import configparser

    profile = os.environ.get("AWS_PROFILE", "default")
    found: dict[str, str] = {}
    for variable, name, section in (
        ("AWS_CONFIG_FILE", "config", profile if profile == "default" else f"profile {profile}"),
        ("AWS_SHARED_CREDENTIALS_FILE", "credentials", profile),
    ):
        place = os.environ.get(variable) or os.path.expanduser(f"~/.aws/{name}")
        parser = configparser.RawConfigParser()
        try:
            parser.read(place, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            raise BadInput(place, "is not as the AWS command line writes it", todo="mend it") from None
        if parser.has_section(section):
            found |= dict(parser.items(section))
    return {key: found[key] for key, variables in _KEYS.items() if key in found and not variables & os.environ.keys()}


def _asked[Answer](address: str, question: Callable[[Any, Any, str], Answer]) -> Answer | None:
    """What the bucket answers to (obstore, store, key); None if there is no such object. Raises BadInput."""
    store = bucket(address)
    try:
        return _sent(lambda: question(_library(address), store, key_of(address)))
    except FileNotFoundError:
        return None
    except Exception as error:
        raise refusal(error, address) from None


def _sent[Answer](request: Callable[[], Answer]) -> Answer:
    for wait_s in WAITS_S:
        try:
            return request()
        except Exception as error:
            if not was_cut_off(error):
                raise
            time.sleep(wait_s)
    return request()
