# mypy: allow-untyped-defs
"""numba's cache on disk, loaded without what only its compiler needs.

By itself numba readies its whole compiler (0.4 s of CPU time a process, SciPy's linear algebra included) before it
loads a function that needs none of it, imports the files of numba that the function was made from, and parses a
second copy of the function, meant for other functions that may be compiled with it.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.codegen import JITCodeLibrary, ll
from numba.core.dispatcher import Dispatcher
from numba.core.environment import Environment, lookup_environment
from numba.core.runtime import rtsys


class KernelCache(FunctionCache):
    """The cache of one function, stale if a file it calls has changed.

    numba looks at a function's own file only, not at those of the functions it calls.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self.files = {function.__code__.co_filename}
        for other in function.__globals__.values():
            if isinstance(other, Dispatcher) and isinstance(other._cache, KernelCache):  # type: ignore[attr-defined]
                self.files |= other._cache.files  # type: ignore[attr-defined]
        stamps = tuple(stamp(name) for name in sorted(self.files))
        self._cache_file = KernelFile(self._cache_path, self._impl.filename_base, stamps)

    def load_overload(self, sig, target_context):
        """The compiled function for a signature; None if it is not cached."""
        rtsys.initialize(target_context)
        target_context.codegen()._library_class = KernelLibrary
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)


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


class KernelLibrary(JITCodeLibrary):
    """Compiled code whose second copy, for others to be compiled with, is parsed when one is."""

    bitcode: bytes | None = None
    _shared_module: Any = None

    @classmethod
    def _unserialize(cls, codegen, state):
        name, kind, data = state
        if kind != "object":
            return super()._unserialize(codegen, state)
        library = codegen.create_library(name)
        library.enable_object_caching()
        code, library.bitcode = data
        library._set_compiled_object(code)
        library._finalize_final_module()
        return library

    def _get_module_for_linking(self):
        if self._shared_module is None and self.bitcode is not None:
            self._shared_module = ll.parse_bitcode(self.bitcode)
            self._codegen._engine._load_defined_symbols(self._shared_module)
        return super()._get_module_for_linking()

    def get_pointer_to_function(self, name):
        """The address of a function of this code; 0 if there is none."""
        if self._shared_module is None and self.bitcode is not None:
            self._ensure_finalized()
            return self._codegen._engine.get_function_address(name)
        return super().get_pointer_to_function(name)


def stamp(name: str) -> tuple[str, int, int]:
    """Name, size and time of a file of kernels."""
    found = Path(name).stat()
    return Path(name).name, found.st_size, found.st_mtime_ns
