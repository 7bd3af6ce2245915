"""The checkpoints of one training: those that are due, and the one at which it was interrupted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from contraband.models.checkpoints import save_checkpoint
from contraband.models.folder import RunFolder
from contraband.progress import say
from contraband.training.interruption import Interruption
from contraband.training.state import Recorder, State


def save(state: State, folder: RunFolder, header: Mapping[str, Any], keep: int | None) -> None:
    """Write a checkpoint that is due, and keep the newest `keep` of those (None: all).

    The one of an interruption goes: everything that takes all checkpoints of a training finds those of one that was
    never interrupted.
    """
    left = state.interrupted_at
    save_checkpoint(folder, {**header, **state.content()}, keep + (left is not None) if keep else keep)
    if left is not None and left != state.step:
        folder.checkpoint(left).unlink(missing_ok=True)
    state.saved = state.step
    state.interrupted_at = None


@contextmanager
def kept(recorder: Recorder, state: State, header: Mapping[str, Any]) -> Iterator[Interruption]:
    """While it is entered an interruption waits for the end of a step, and what was trained until then is saved.

    The checkpoint is there until the next one is due. KeyboardInterrupt is raised in any case.
    """
    interruption = Interruption()
    with interruption.heard():
        try:
            yield interruption
        except KeyboardInterrupt:
            if state.step > state.saved and not interruption.is_at_once:
                recorder.catch_up(state)
                _save_interrupted(state, recorder.folder, header)
                say(f"{recorder.folder.path}: step {state.step} of {recorder.settings.num_iterations} is saved")
            raise


def _save_interrupted(state: State, folder: RunFolder, header: Mapping[str, Any]) -> None:
    save_checkpoint(folder, {**header, **state.content(), "interrupted": True}, None)
    if state.interrupted_at is not None:
        folder.checkpoint(state.interrupted_at).unlink(missing_ok=True)
    state.saved = state.step
    state.interrupted_at = state.step
