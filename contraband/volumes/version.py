"""Which version this is; the number itself stands in pyproject.toml only."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

UNKNOWN = "not installed"


def version(package: str = "contraband") -> str:
    """The installed version of a package; `not installed` if it is a folder that merely lies in the path."""
    try:
        return version_of(package)
    except PackageNotFoundError:
        return UNKNOWN
