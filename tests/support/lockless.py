"""A file system that refuses locks: a library that answers for the system's calls, for processes that are told to."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CODE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>

static int refused(int command) {
    if (command != F_SETLK && command != F_SETLKW && command != F_GETLK) return 0;
    errno = atoi(getenv("REFUSED_WITH"));
    return 1;
}
#define ANSWER(name)                                                        \
    int name(int file, int command, ...) {                                  \
        va_list rest;                                                       \
        va_start(rest, command);                                            \
        void *argument = va_arg(rest, void *);                              \
        va_end(rest);                                                       \
        if (refused(command)) return -1;                                    \
        int (*real)(int, int, ...) = dlsym(RTLD_NEXT, #name);               \
        return real(file, command, argument);                               \
    }
ANSWER(fcntl)
ANSWER(fcntl64)
int flock(int file, int operation) { return refused(F_SETLK) ? -1 : 0; }
"""


def without_locks(folder: Path, number: int) -> dict[str, str]:
    """The environment of processes whose files cannot be locked: every attempt ends with this error number."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    source, library = folder / "refused.c", folder / "refused.so"
    source.write_text(CODE, encoding="utf-8")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    return {**os.environ, "LD_PRELOAD": str(library), "REFUSED_WITH": str(number)}
