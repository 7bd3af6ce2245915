"""The connection to a MongoDB database, and why there is none, told apart: eight faults look alike from outside."""

from __future__ import annotations

import logging
import re
import socket
import warnings
from collections.abc import Sequence
from typing import Any

import pymongo
from pymongo.database import Database
from pymongo.errors import ConfigurationError, InvalidURI, OperationFailure, PyMongoError
from pymongo.uri_parser import parse_uri

from blockwise.errors import BadInput, OutOfReach, WorkFailed, one_line
from blockwise.store.base import masked

log = logging.getLogger(__name__)

_OPEN_S = 5
_PROBE_S = 2
_GONE_S = 10
"""A server that is gone for longer ends the run; several operations wait for it one after the other."""
_UNAUTHORIZED, _AUTHENTICATION_FAILED, _FEW_MEMBERS = 13, 18, 100
_NOT_PRIMARY = (10107, 13435)

Documents = Database[dict[str, Any]]


def connect(url: str) -> tuple[pymongo.MongoClient[dict[str, Any]], Documents]:
    """A client and the database that the URL names; raises BadInput within some seconds, without the password."""
    name = masked(url)
    options: dict[str, Any] = {"journal": True} if "w=" in url else {"w": 1, "journal": True}
    if "serverselectiontimeoutms" not in url.lower():
        options["serverSelectionTimeoutMS"] = 1000 * _GONE_S
    try:
        with warnings.catch_warnings(record=True) as doubts:
            warnings.simplefilter("always")
            client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(url, **options)
        for doubt in doubts:
            log.warning("store: %s", one_line(str(doubt.message)))
        found = client.get_default_database()
        with pymongo.timeout(_OPEN_S):
            found.command("ping")
    except (InvalidURI, ConfigurationError, ValueError, TypeError, OSError) as error:
        raise _refused_url(url, error) from None
    except OperationFailure as error:
        raise told(error, name) from None
    except PyMongoError as error:
        raise _silent(url, name, error) from None
    return client, found


def told(error: PyMongoError, name: str) -> BadInput | WorkFailed:
    """What a server has refused to do, for the user; `name`: the URL without its password."""
    code = getattr(error, "code", None)
    if code == _AUTHENTICATION_FAILED:
        todo = "check both; if the user is kept in another database, add ?authSource=admin"
        return BadInput("store", f"{name} does not know this user with this password", todo=todo)
    if code == _UNAUTHORIZED and "***@" not in name:
        return BadInput("store", f"{name} wants a user", wanted="mongodb://USER:PASSWORD@host/database", got="none")
    if code == _UNAUTHORIZED:
        todo = "give the user the role readWrite on the database, or take another user"
        return BadInput("store", f"{name}: the user may not write there, or not even read", todo=todo)
    if code == _FEW_MEMBERS:
        return BadInput("store", f"{name} has fewer servers than w= in the URL asks for", todo="remove w=, or lower it")
    if code in _NOT_PRIMARY:
        todo = "name all members and ?replicaSet=NAME in the URL"
        return BadInput("store", f"{name} is a member of a replica set that takes no writes", todo=todo)
    return WorkFailed(f"{name}: the store cannot be used ({_short(error)}); what is finished is kept")


def _refused_url(url: str, error: Exception) -> BadInput:
    name = masked(url)
    text = _short(error)
    if _is_unescaped(url):
        return _unescaped(name)
    if "No default database" in text:
        todo = "add it, and options after it: mongodb://host/DATABASE?option=value"
        return BadInput("store", "the URL names no database", got=name, todo=todo)
    if "DNS" in text or "resolution" in text:
        return BadInput("store", f"the host of {name} is unknown ({text})", todo="check its name")
    wanted = "mongodb://host/database"
    return BadInput("store", f"is not a MongoDB URL that can be used ({text})", got=name, wanted=wanted)


def _is_unescaped(url: str) -> bool:
    """Whether user or password have characters that end a part of a URL."""
    return bool(re.search(r"[@:/?#\[\] ]|%(?![0-9A-Fa-f]{2})", _credentials(url).replace(":", "", 1)))


def _unescaped(name: str) -> BadInput:
    todo = "percent-encode them: @ as %40, : as %3A, / as %2F, % as %25, ? as %3F, # as %23"
    return BadInput("store", f"{name}: user or password have characters that mean something in a URL", todo=todo)


def _credentials(url: str) -> str:
    """What stands for user and password, whatever characters it has; an @ among the options ends neither."""
    rest = url.partition("://")[2]
    before, at, after = rest.rpartition("@")
    if "=" in before.partition("?")[2] and "/" not in after:
        before, at, _ = rest.partition("?")[0].rpartition("@")
    return before if at else ""


def _silent(url: str, name: str, error: PyMongoError) -> BadInput:
    """Why no server was found, tried step by step: its name, its port, TLS, the replica set."""
    if _is_unescaped(url):  # and yet a URL, of another host than is meant
        return _unescaped(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given = parse_uri(url, warn=True)
    options = {key.lower(): value for key, value in given["options"].items()}
    for host, port in given["nodelist"]:
        reason = _unreachable(host, port)
        if reason:
            return OutOfReach(
                "store", f"no MongoDB server answers at {name} ({reason})", todo="start it, or check the URL"
            )
    nodes = given["nodelist"]
    wants_tls = bool(options.get("tls"))
    plain = _hello(nodes, tls=False)
    hidden = None if plain else _hello(nodes, tls=True, tlsAllowInvalidCertificates=True)
    if wants_tls and plain:
        return BadInput("store", f"the server at {name} does not speak TLS", todo="remove tls=true from the URL")
    if not wants_tls and hidden:
        return BadInput("store", f"the server at {name} wants TLS", todo="add ?tls=true (and tlsCAFile=) to the URL")
    if wants_tls and hidden:
        todo = "name the authority that signed it: tlsCAFile=/path/to/ca.pem, and the host as in the certificate"
        return BadInput("store", f"the TLS certificate of {name} is not trusted ({_short(error, 120)})", todo=todo)
    found = plain or hidden
    wanted = options.get("replicaset")
    if found and wanted and found.get("setName") != wanted:
        got = found.get("setName") or "a server that is in none"
        return BadInput("store", f"{name}: another replica set", got=got, wanted=wanted, todo="correct replicaSet=")
    if found is None:
        todo = "check host and port"
        return BadInput("store", f"what answers at {name} is no MongoDB server, or it wants a certificate", todo=todo)
    return BadInput("store", f"no MongoDB server to write to at {name} ({_short(error)})", todo="check the replica set")


def _unreachable(host: str, port: int | None) -> str:
    """Why no connection to a port can be made; nothing if one can."""
    if host.startswith("/"):
        return ""
    try:
        with socket.create_connection((host, port or 27017), timeout=_PROBE_S):
            return ""
    except socket.gaierror:
        return f"the host {host} is unknown"
    except TimeoutError:
        return f"{host} did not answer within {_PROBE_S} s"
    except OSError as error:
        return f"{host} port {port}: {error.strerror or error}"


def _hello(nodes: Sequence[tuple[str, int | None]], **options: Any) -> dict[str, Any] | None:
    """What a server says of itself, asked directly; None if it does not answer in this way."""
    milliseconds = 1000 * _PROBE_S
    for host, port in nodes:
        client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(
            host,
            port,
            directConnection=True,
            serverSelectionTimeoutMS=milliseconds,
            connectTimeoutMS=milliseconds,
            socketTimeoutMS=milliseconds,
            **options,
        )
        try:
            return client.admin.command("hello")
        except PyMongoError as error:
            log.debug("hello: %s", error)
        finally:
            client.close()
    return None


def _short(error: Exception, limit: int = 200) -> str:
    """The text of an error up to the details that pymongo adds."""
    text = one_line(str(error)).partition(", full error:")[0].partition(", Timeout:")[0]
    text = text.partition(" (configured timeouts:")[0]
    return text[:limit]
