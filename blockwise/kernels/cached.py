# mypy: allow-untyped-defs
"""numba's cache on disk, loaded without what only its compiler needs.

By itself numba readies its whole compiler (0.7 s of CPU time per process, SciPy's linear algebra included) before it
loads a function that needs none of it, and imports the files of numba that the function was made from (0.1 s).

This leans on what numba keeps to itself. `check_numba` says whether it is still there; `compiled` does without if not.
"""

from __future__ import annotations

import logging
import os
import pickle
import stat
import sys
import tempfile
from collections.abc import Callable
from inspect import signature
from io import BytesIO
from pathlib import Path
from typing import Any

from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile
from numba.core.dispatcher import Dispatcher
from numba.core.environment import Environment, _rebuild_env, lookup_environment
from numba.core.runtime import rtsys

log = logging.getLogger(__name__)

_BY_NAME: dict[str, Any] = {one.__name__.lstrip("_"): one for one in CompileResultCacheImpl._locator_classes}
_IN_TREE: Any = _BY_NAME["InTreeCacheLocator"]
_USER_WIDE: Any = _BY_NAME["UserWideCacheLocator"]


class HomeLocator(_USER_WIDE):
    """The cache in the user's home, if there is one: without, numba would make a folder called `~` where it stands."""

    @classmethod
    def from_function(cls, py_func, py_file):
        """The place for a function; None if there is none."""
        path = cls(py_func, py_file).get_cache_path()
        return super().from_function(py_func, py_file) if os.path.isabs(path) else None


class TemporaryLocator(_IN_TREE):
    """The last resort, as in a container whose user has no home: a folder for temporary files that nobody else may
    write to, as what is read from it is run."""

    def get_cache_path(self):
        """The folder for a function's file."""
        return os.path.join(temporary_cache(), self.get_suitable_cache_subpath(self._py_file))

    @classmethod
    def from_function(cls, py_func, py_file):
        """The place for a function; None if others may write there."""
        folder = temporary_cache()
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            found = os.lstat(folder)
        except OSError:
            return None
        is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
        return super().from_function(py_func, py_file) if is_ours else None


def temporary_cache() -> str:
    """The user's own folder for compiled code among temporary files."""
    return os.path.join(tempfile.gettempdir(), f"numba-cache-{os.getuid()}")


class KernelPlaces(CompileResultCacheImpl):
    """Where numba looks for a place to keep compiled code, and one more."""

    _locator_classes = (
        *(HomeLocator if one is _USER_WIDE else one for one in CompileResultCacheImpl._locator_classes),
        TemporaryLocator,
    )


class KernelCache(FunctionCache):
    """The cache of one function, stale if a file it calls has changed.

    numba looks at a function's own file only, not at those of the functions it calls. What lies beside the file is used
    also where nothing can be written, as in an installation that another user has made. Raises RuntimeError if there
    is no place to write to.
    """

    _impl_class = KernelPlaces

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self.files = {function.__code__.co_filename}
        for other in function.__globals__.values():
            if isinstance(other, Dispatcher) and isinstance(other._cache, KernelCache):  # type: ignore[attr-defined]
                self.files |= other._cache.files  # type: ignore[attr-defined]
        stamps = tuple(stamp(name) for name in sorted(self.files))
        own = Path(function.__code__.co_filename).with_name("__pycache__")
        self._shipped = KernelFile(str(own), self._impl.filename_base, stamps)
        self._cache_file = KernelFile(self._cache_path, self._impl.filename_base, stamps)

    def load_overload(self, sig, target_context):
        """The compiled function for a signature; None if it is not cached."""
        try:
            rtsys.initialize(target_context)
        except (AttributeError, TypeError):  # numba's own way: slower, but its own business
            return super().load_overload(sig, target_context)
        return self._found(self._shipped, sig, target_context) or self._found(self._cache_file, sig, target_context)

    def save_overload(self, sig, data):
        """Keep a compiled function, if the disk has room for it."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            log.info("kernels: %s", error)

    def _found(self, file: KernelFile, sig: Any, target_context: Any) -> Any:
        """The compiled function in one file; what cannot be read is not there, and is compiled again."""
        if not self._enabled:
            return None
        try:
            data = file.load(self._index_key(sig, target_context.codegen()))
        except Exception as error:  # not permitted, or cut off by a full disk: pickle fails in many ways
            log.info("kernels: %s", error)
            return None
        return None if data is None else self._impl.rebuild(target_context, data)


class KernelFile(IndexDataCacheFile):
    """Reads cached functions without importing what they were made from."""

    def _load_data(self, name):
        return Unpickler(BytesIO(Path(self._data_path(name)).read_bytes())).load()


class Unpickler(pickle.Unpickler):
    """Remakes the environments of functions without the globals of their files: compiled code does not look at them."""

    def find_class(self, module, name):
        """What `module.name` is."""
        if (module, name) == ("numba.core.environment", "_rebuild_env"):
            return remade_environment
        return super().find_class(module, name)


def remade_environment(module: str, constants: list[Any], name: str) -> Environment:
    """The environment of that name: the one that is there, or one with these constants.

    Its globals are those of the file if that is imported, else nothing but its name.
    """
    environment = lookup_environment(name)
    if environment is None:
        environment = Environment(vars(sys.modules[module]) if module in sys.modules else {"__name__": module})
        environment.consts[:] = constants
        environment.env_name = name
        Environment._memo[name] = environment
    return environment


def check_numba() -> None:
    """Raise ImportError if something in numba that is called or replaced here takes other arguments than it did."""
    for hook, wanted in (
        (FunctionCache.load_overload, "self sig target_context"),
        (FunctionCache.save_overload, "self sig data"),
        (FunctionCache._index_key, "self sig codegen"),
        (CompileResultCacheImpl.rebuild, "self target_context payload"),
        (IndexDataCacheFile, "cache_path filename_base source_stamp"),
        (IndexDataCacheFile.load, "self key"),
        (IndexDataCacheFile._load_data, "self name"),
        (_rebuild_env, "modname consts env_name"),
        (lookup_environment, "env_name"),
        (rtsys.initialize, "ctx"),
    ):
        found = " ".join(signature(hook).parameters)
        if found != wanted:
            raise ImportError(f"{hook} takes ({found}), not ({wanted})")


def stamp(name: str) -> tuple[str, int, int]:
    """Name, size and time of a file of kernels."""
    found = Path(name).stat()
    return Path(name).name, found.st_size, found.st_mtime_ns
