"""Where workers are started: whatever Dask's configuration says, and however few files may be open."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

START = """
import resource, sys
if len(sys.argv) > 1:
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[1])))
from blockwise.cluster.open import dashboard_address, open_cluster
from blockwise.cluster.settings import Cluster
from blockwise.errors import BlockwiseError
try:
    with open_cluster(Cluster(workers=1)) as client:
        print("works", client.submit(sum, [1, 2]).result(), dashboard_address(client))
except BlockwiseError as error:
    print("refused", error)
"""


def start(*arguments: str, **environment: str) -> str:
    """What a process says that starts a worker, on stdout; it must say nothing else."""
    full = {name: value for name, value in os.environ.items() if not name.startswith("DASK_")}
    command = [sys.executable, "-c", START, *arguments]
    done = subprocess.run(command, cwd=ROOT, env={**full, **environment}, capture_output=True, text=True, timeout=90)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    return done.stdout


WORKING = {
    "a JupyterHub's link": {"DASK_DISTRIBUTED__DASHBOARD__LINK": "{JUPYTERHUB_SERVICE_PREFIX}proxy/{port}/status"},
    "a link that is no template": {"DASK_DISTRIBUTED__DASHBOARD__LINK": "{port"},
    "encryption": {"DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True"},
    "TLS": {"DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME": "tls"},
    "TLS, and certificates that are not here": {
        "DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME": "tls",
        "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True",
        "DASK_DISTRIBUTED__COMM__TLS__CA_FILE": "/no/such/ca.pem",
        "DASK_DISTRIBUTED__COMM__TLS__SCHEDULER__CERT": "/no/such/cert.pem",
        "DASK_DISTRIBUTED__COMM__TLS__SCHEDULER__KEY": "/no/such/key.pem",
        "DASK_DISTRIBUTED__COMM__TLS__WORKER__CERT": "/no/such/cert.pem",
        "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT": "/no/such/cert.pem",
    },
    "another scheduler": {"DASK_SCHEDULER_ADDRESS": "tcp://10.0.0.5:8786"},
    "a folder that is not here": {"DASK_TEMPORARY_DIRECTORY": "/no/such/folder"},
    "text for a share of memory that is not used": {"DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE": "lots"},
    "no shares of memory": {"DASK_DISTRIBUTED__WORKER__MEMORY__TERMINATE": "false"},
    "a module that is not here, in workers": {"DASK_DISTRIBUTED__WORKER__PRELOAD": "nosuchmodule"},
    "a scheduler that ends soon": {"DASK_DISTRIBUTED__SCHEDULER__IDLE_TIMEOUT": "1ms"},
    "an address that is not here": {"DASK_DISTRIBUTED__SCHEDULER__CONTACT_ADDRESS": "tcp://10.0.0.5:8786"},
    "nothing": {},
}


@pytest.mark.parametrize("name", WORKING)
@pytest.mark.slow
def test_workers_start_whatever_others_have_configured(name):
    """All is on this machine, so what is meant for another cluster does not matter; the dashboard has a plain link."""
    assert start(**WORKING[name]).startswith("works 3 http://127.0.0.1:")


BROKEN = {
    "no mapping": "- a\n- b\n",
    "no YAML": "distributed: {worker: [\n",
    "text for a time": "distributed: {comm: {timeouts: {connect: soon}}}\n",
    "text for a number that only workers read": "distributed: {worker: {connections: {incoming: many}}}\n",
    "text for a time that only workers read": "distributed: {worker: {lifetime: {duration: never}}}\n",
    "a list for a time": "distributed: {client: {heartbeat: [5]}}\n",
    "text for a size that only workers read": "distributed: {worker: {memory: {max-spill: lots}}}\n",
    "text for a share of memory": "distributed: {worker: {memory: {terminate: lots}}}\n",
    "a number in quotes": "distributed: {worker: {memory: {target: '0.6'}}}\n",
    "nothing for a share of memory": "distributed: {worker: {memory: {spill: null}}}\n",
    "a module that is not here, in the scheduler": "distributed: {scheduler: {preload: [nosuchmodule]}}\n",
    "a level of messages that there is not": "distributed: {logging: {distributed: loud}}\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_configuration_of_dask_is_named(name, tmp_path):
    """In one line, with the file it comes from."""
    path = tmp_path / "site.yaml"
    path.write_text(BROKEN[name])
    said = start(DASK_CONFIG=str(tmp_path))
    assert said.startswith("refused cluster: ")
    assert str(path) in said


SENSIBLE = """
distributed:
  worker:
    memory: {target: false, spill: 0.7, pause: 1, terminate: false, max-spill: 10 GB, monitor-interval: 1s}
    lifetime: {duration: 1 hour, stagger: 5 minutes, restart: true}
    connections: {incoming: 4}
    transfer: {message-bytes-limit: 10000000}
    resources: {GPU: 1}
  client: {heartbeat: 5}
  comm: {compression: lz4, timeouts: {connect: 60}, retry: {count: 3}, offload: false}
  scheduler:
    {idle-timeout: 2h, worker-saturation: inf, bandwidth: 1 GB, preload: [os], dashboard: {tls: {ca-file: null}}}
  admin: {log-length: null}
  nanny: {environ: {A: b}}
  logging: {distributed: warning}
jobqueue: {slurm: {cores: 4, walltime: "1:00:00"}}
"""


def test_a_configuration_that_makes_sense_is_taken(tmp_path):
    """Times as numbers, sizes as numbers, what is left open, and what is there for others."""
    (tmp_path / "site.yaml").write_text(SENSIBLE)
    assert start(DASK_CONFIG=str(tmp_path)).startswith("works 3 ")


@pytest.mark.parametrize("most", [64, 90, 128, 256])
def test_too_few_files_are_refused_before_workers_start(most):
    """Where Dask would try for ever; or they are enough."""
    said = start(str(most))
    assert said.startswith("works 3") or ("too few files" in said and f"ulimit -n {most}" in said)


RAISE = """
import resource
from blockwise.cluster.handles import allow_files
allow_files(40)
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def test_a_soft_limit_of_files_is_raised():
    """The shell's default of 1024 is no reason to use fewer workers."""
    command = ["sh", "-c", f'ulimit -S -n 100; {sys.executable} -c "{RAISE}"']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) > 500
