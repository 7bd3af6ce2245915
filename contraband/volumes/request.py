"""What is asked of a run beside its settings."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blockwise.engine.run import Progress


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """How a run deals with what is there, and whom it tells."""

    redo: str | None = None
    """This stage and what depends on it are made anew."""
    redo_failed: bool = False
    """Blocks that were given up are tried again."""
    grown: bool = False
    """The user's word that no old voxel of a larger volume has changed."""
    progress: Progress | None = None
    announce: Callable[[str], None] = log.info
    """Gets the dashboard's address as soon as there is one."""
