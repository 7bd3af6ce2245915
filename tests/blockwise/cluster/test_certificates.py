"""Nobody else gets in: schedulers with certificates, clients without them, and files that only the user reads."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import dask
import pytest
from distributed.security import Security

from blockwise.cluster.certificates import configuration_of, given_security, in_files, made_security, private_folder
from blockwise.cluster.open import open_cluster
from blockwise.cluster.settings import Cluster, Tls
from blockwise.errors import BadInput

SERVER = """
import asyncio, sys
import dask
from distributed import Scheduler, Worker

async def main():
    where = {"host": "127.0.0.1", "protocol": "tls", "dashboard": False}
    async with Scheduler(port=0, dashboard_address="127.0.0.1:0", **where) as one:
        async with Worker(one.address, host="127.0.0.1", dashboard=False):
            print(one.address, flush=True)
            await asyncio.Event().wait()

asyncio.run(main())
"""


def files(folder: Path) -> dict[str, str]:
    """New certificates in files, as the settings name them."""
    folder.mkdir()
    in_files(made_security(), folder)
    return {"ca": str(folder / "ca.pem"), "cert": str(folder / "cert.pem"), "key": str(folder / "key.pem")}


@contextmanager
def scheduler(tls: Mapping[str, str]) -> Iterator[str]:
    """The address of a scheduler with a worker, in a process of its own, configured as a site would do it."""
    names = [f"{role}__{kind}" for role in ("scheduler", "worker", "client") for kind in ("cert", "key")]
    given = {f"DASK_DISTRIBUTED__COMM__TLS__{name.upper()}": tls[name.rpartition("__")[2]] for name in names}
    env = {**os.environ, **given, "DASK_DISTRIBUTED__COMM__TLS__CA_FILE": tls["ca"]}
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def test_an_address_is_joined_with_certificates_only(tmp_path):
    """With those of the settings or of Dask's configuration; not with others, without any, or without encryption."""
    own, others = files(tmp_path / "own"), files(tmp_path / "others")
    with scheduler(own) as address:
        bare = address.removeprefix("tls://")
        with open_cluster(Cluster.parse({"address": bare, "tls": own}, "cluster")) as client:
            assert client.submit(sum, [1, 2]).result() == 3
        configured = configuration_of(given_security(Tls.parse(own, "tls")))
        with dask.config.set(configured), open_cluster(Cluster(address=address)) as client:
            assert client.submit(sum, [1, 2]).result() == 3
        for data in ({"address": address, "tls": others}, {"address": address}, {"address": bare}):
            with pytest.raises(BadInput, match="no Dask scheduler answers") as raised, open_cluster(Cluster(**data)):
                pass
            assert "\n" not in str(raised.value)


@pytest.mark.parametrize("role", ["ca", "cert", "key"])
def test_files_that_cannot_be_used_are_refused(role, tmp_path):
    """A file that is missing is named, one that holds something else is told, before anything is started."""
    tls = files(tmp_path / "own")
    missing = {**tls, role: str(tmp_path / "nosuch.pem")}
    with pytest.raises(BadInput, match=r"cluster.tls: .*nosuch.pem is not a file that can be read"):
        given_security(Tls.parse(missing, "tls"))
    (tmp_path / "other.pem").write_text("hello\n")
    wrong = {**tls, role: str(tmp_path / "other.pem")}
    with pytest.raises(BadInput, match="are no certificates"):
        given_security(Tls.parse(wrong, "tls"))


def test_a_key_of_another_certificate_is_refused(tmp_path):
    """As nobody could be talked to."""
    one, other = files(tmp_path / "one"), files(tmp_path / "other")
    with pytest.raises(BadInput, match=r"are no certificates .*MISMATCH"):
        given_security(Tls.parse({**one, "key": other["key"]}, "tls"))


@pytest.mark.parametrize("data", [{"tls": "yes"}, {"tls": {"ca": "x"}}, {"tls": {"ca": "x", "cert": "x", "keys": "x"}}])
def test_settings_that_name_no_certificates_are_refused(data):
    """In one line, with the key."""
    with pytest.raises(BadInput, match=r"cluster: tls: (must be true, false, or files|cert|key)") as raised:
        Cluster.parse(data, "cluster")
    assert "\n" not in str(raised.value)


def test_the_folder_of_a_run_is_readable_by_nobody_else(tmp_path):
    """Nor are the files in it, whatever the user lets others read by default; afterwards it is gone."""
    before = os.umask(0)
    try:
        cluster = Cluster(kind="slurm", memory="1GB", shared_folder=tmp_path / "shared")
        with private_folder(cluster) as folder:
            in_files(made_security(), folder)
            assert folder.parent == tmp_path / "shared"
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert {path.name for path in folder.iterdir()} == {"ca.pem", "cert.pem", "key.pem"}
            assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    finally:
        os.umask(before)
    assert not folder.exists()


def test_the_folder_of_a_killed_run_goes_with_the_next_one(tmp_path):
    """Keys of a run that is over are of no use to anybody; those of a run that goes on stay."""
    cluster = Cluster(kind="slurm", memory="1GB", shared_folder=tmp_path)
    with private_folder(cluster) as here:
        left = here.with_name(here.name.replace(f"-{os.getpid()}-", f"-{2**22 + 1}-"))
        left.mkdir()
        (left / "key.pem").write_text("")
        with private_folder(cluster):
            assert here.exists()
            assert not left.exists()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    """With the key that names another one."""
    (tmp_path / "file").write_text("")
    cluster = Cluster(kind="slurm", memory="1GB", shared_folder=tmp_path / "file" / "shared")
    with pytest.raises(BadInput, match=r"cluster.shared_folder: nothing can be written"), private_folder(cluster):
        pass


def test_what_another_process_is_configured_with_is_enough(tmp_path):
    """As a worker that ssh starts gets nothing but Dask's configuration."""
    with dask.config.set(configuration_of(in_files(made_security(), tmp_path))):
        found = Security()
        for role in ("scheduler", "worker", "client"):
            assert found.get_tls_config_for_role(role)["key"] == str(tmp_path / "key.pem")
        assert found.require_encryption
