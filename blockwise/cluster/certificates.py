"""Who may talk to scheduler and workers: those with the certificates of the run, or with the user's own."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from blockwise.cluster.settings import Cluster, Tls
from blockwise.errors import BadInput, one_line

if TYPE_CHECKING:
    from distributed.security import Security

_ROLES = ("scheduler", "worker", "client")


def given_security(tls: Tls) -> Security:
    """The user's certificates, for all roles; BadInput if the files cannot be used."""
    from distributed.security import Security

    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tls.ca))
        context.load_cert_chain(str(tls.cert), str(tls.key), password=_no_password)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        missing = [path for path in (tls.ca, tls.cert, tls.key) if not os.access(path, os.R_OK)]
        where = missing[0] if missing else f"{tls.ca}, {tls.cert}, {tls.key}"
        what = "is not a file that can be read" if missing else f"are no certificates ({one_line(str(error))})"
        raise BadInput("cluster.tls", f"{where} {what}", wanted="ca, cert and key, PEM files that fit") from None
    files = {f"tls_{role}_{kind}": str(getattr(tls, kind)) for role in _ROLES for kind in ("cert", "key")}
    return Security(tls_ca_file=str(tls.ca), require_encryption=True, **files)


def made_security() -> Security:
    """Certificates made for one run, which are known to nobody else."""
    from distributed.security import Security

    try:
        return Security.temporary()
    except ImportError:
        raise BadInput(
            "cluster.tls",
            "certificates for a run are made with the package cryptography",
            todo="pip install 'contraband[cluster]', or set cluster.tls to files of your own, or to false",
        ) from None


@contextmanager
def security_of(settings: Cluster) -> Iterator[Security | None]:
    """For a scheduler whose workers are on other machines, in files as long as it runs; None: without encryption."""
    if isinstance(settings.tls, Tls):
        yield given_security(settings.tls)
    elif settings.tls:
        with private_folder(settings) as folder:
            yield in_files(made_security(), folder)
    else:
        yield None


@contextmanager
def private_folder(settings: Cluster) -> Iterator[Path]:
    """A new folder that all machines see and only the user may look into; removed afterwards."""
    import dask

    told = dask.config.get(f"jobqueue.{settings.kind}.shared-temp-directory", None)
    base = settings.shared_folder or Path(os.path.expandvars(str(told or "~"))).expanduser()
    try:
        base.mkdir(parents=True, exist_ok=True)
        _remove_left(base)
        prefix = f"{_prefix()}{os.getpid()}-"
        found = tempfile.TemporaryDirectory(prefix=prefix, dir=base, ignore_cleanup_errors=True)
    except OSError as error:
        raise BadInput(
            "cluster.shared_folder",
            f"nothing can be written into {base} ({error.strerror})",
            todo="set it to a folder of yours that all machines see",
        ) from None
    with found as path:  # Python makes such folders with the mode 0700
        yield Path(path)


def _prefix() -> str:
    return f".blockwise-{socket.gethostname()}-"


def _remove_left(base: Path) -> None:
    """Remove the folders of runs on this machine that were killed."""
    for path in base.glob(f"{_prefix()}*"):
        pid = path.name.removeprefix(_prefix()).partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(path, ignore_errors=True)


def in_files(security: Security, folder: Path) -> Security:
    """The same certificates, each a file in the private folder that goes with it, and not with some object."""
    from distributed.security import Security

    files = {"tls_ca_file": _as_file(security.tls_ca_file, folder / "ca.pem")}
    for role in _ROLES:
        for kind in ("cert", "key"):
            name = f"tls_{role}_{kind}"
            files[name] = _as_file(getattr(security, name), folder / f"{kind}.pem")
    return Security(require_encryption=True, **files)


def configuration_of(security: Security) -> dict[str, Any]:
    """Dask's configuration for processes that get no security in another way; all certificates are files."""
    found: dict[str, Any] = {
        "distributed.comm.default-scheme": "tls",
        "distributed.comm.require-encryption": True,
        "distributed.comm.tls.ca-file": security.tls_ca_file,
    }
    for role in _ROLES:
        for kind in ("cert", "key"):
            found[f"distributed.comm.tls.{role}.{kind}"] = getattr(security, f"tls_{role}_{kind}")
    return found


def _as_file(value: str, path: Path) -> str:
    """The path of a certificate, which is a path already or a text."""
    if "\n" not in value:
        return value
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
        file.write(value)
    return str(path)


def _no_password() -> str:
    """Asked for where a key is locked with one; a run may have nobody at its terminal."""
    raise ValueError("the key is locked with a password")
