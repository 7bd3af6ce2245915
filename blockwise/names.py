"""Names of a package that are loaded when they are first used, so that importing it costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence


def lazily(package: str, homes: Mapping[str, Sequence[str]]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package that offers names defined elsewhere.

    homes: the names by the module that defines them.
    """

    def load(name: str) -> object:
        from importlib import import_module

        for home, names in homes.items():
            if name in names:
                found: object = getattr(import_module(home), name)
                return found
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def listed() -> list[str]:
        return sorted(name for names in homes.values() for name in names)

    return load, listed
