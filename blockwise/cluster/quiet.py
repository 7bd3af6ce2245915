"""What Dask says while it is started or closed, kept from people who cannot do anything about it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_LOGGERS = ("distributed", "distributed.client", "distributed.gc", "asyncio", "tornado", "tornado.application", "bokeh")


class Told(logging.Filter):
    """Drops what a run on a batch system says in words of its own, or asked for itself."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the message is to be written."""
        text = record.getMessage()
        is_probe = "TLS handshake failed" in text and "EOF" in text  # a job looked whether its run still goes on
        return not is_probe and "marked as failed because" not in text


@contextmanager
def without_told() -> Iterator[None]:
    """Without Dask's messages of lost workers and of jobs that look for the scheduler."""
    loggers = [logging.getLogger(name) for name in ("distributed.comm.tcp", "distributed.scheduler")]
    told = Told()
    for logger in loggers:
        logger.addFilter(told)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(told)


@contextmanager
def muted() -> Iterator[None]:
    """Without messages of connections that are closed, or of attempts that fail: the error that ends them is told."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
