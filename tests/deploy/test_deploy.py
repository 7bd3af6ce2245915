"""What can be checked of the containers and manifests without an engine to run them."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.house.sources import imported, modules, tracked
from tests.support.paths import ROOT

DEPLOY = ROOT / "deploy"
OPTIONAL = {"dask-jobqueue"}
"""Imported where a batch system starts the workers, and nowhere on a worker."""


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))


def listed():
    lines = (DEPLOY / "requirements-cpu.txt").read_text("utf-8").splitlines()
    return {canonicalize_name(Requirement(line).name) for line in lines if line and not line.startswith("#")}


def test_the_cpu_list_is_enough_for_blockwise():
    """Every package that a module of blockwise imports is in deploy/requirements-cpu.txt."""
    names = {top for name in modules("blockwise") for top in imported(name)}
    names -= {*sys.stdlib_module_names, "blockwise", "__future__"}
    homes = packages_distributions()
    for name in sorted(names):
        found = {canonicalize_name(home) for home in homes[name]}
        assert found & (listed() | OPTIONAL), f"{name} is imported and not listed"


def test_the_cpu_list_holds_nothing_heavy():
    """No worker without a GPU gets torch or gunpowder; every name is a dependency, or reads volumes in a cloud."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    known = [*project["dependencies"], *project["optional-dependencies"]["cloud"]]
    assert not listed() & {"torch", "gunpowder"}
    assert listed() <= {canonicalize_name(Requirement(line).name) for line in known}


def test_containers_copy_only_what_is_there():
    """Each file that a Containerfile copies exists, and .dockerignore lets it through."""
    let_through = (ROOT / ".dockerignore").read_text("utf-8")
    for file in DEPLOY.glob("Containerfile.*"):
        text = file.read_text("utf-8")
        for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE):
            for name in line.split()[:-1]:
                assert (ROOT / name).exists(), f"{file.name}: {name}"
                assert f"!{name}" in let_through, f"{file.name}: {name}"
        assert re.search(r"^USER \d+", text, re.MULTILINE), f"{file.name} runs as root"


def test_ports_are_open_to_this_machine_only(compose):
    """Every published port of the compose file is bound to the loopback address."""
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_images_are_built_from_files_that_exist(compose):
    """Each service is built from a Containerfile of this folder, or is the database."""
    for name, service in compose["services"].items():
        if name == "mongodb":
            continue
        assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).exists()


def test_workers_see_the_folders_of_the_driver(compose):
    """The driver and all workers mount the same folders at the same place, so that relative paths agree."""
    services = compose["services"]
    for name in ("worker", "gpu-worker"):
        assert services[name]["volumes"] == services["contraband"]["volumes"]
        assert services[name]["working_dir"] == services["contraband"]["working_dir"]


def test_manifests_are_complete():
    """Each Kubernetes object has a kind and a name; pods select themselves; services exist for each host named."""
    found = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text("utf-8")))
    assert all(one["apiVersion"] and one["metadata"]["name"] for one in found)
    services = {one["metadata"]["name"] for one in found if one["kind"] == "Service"}
    assert services == {"mongodb", "scheduler"}
    for one in found:
        if one["kind"] in ("Deployment", "StatefulSet"):
            assert one["spec"]["selector"]["matchLabels"] == one["spec"]["template"]["metadata"]["labels"]


def test_no_credentials_are_written_down():
    """A password in deploy/ or configs/ is always a name of the environment or of a secret."""
    for name in tracked():
        if name.startswith(("deploy/", "configs/")):
            for user in re.findall(r"mongodb://([^@/\s]*)@", (ROOT / name).read_text("utf-8", "replace")):
                assert user.startswith("$"), f"{name}: {user}"
