"""Where blocks are processed: in this process, or on Dask workers."""

from __future__ import annotations

from blockwise.executor.base import Executor, Outcome
from blockwise.executor.inprocess import InProcess
from blockwise.executor.ondask.executor import OnDask

__all__ = ["Executor", "InProcess", "OnDask", "Outcome"]
