"""The page of a labelling session: keys and the mouse in the browser, what the session makes of them on the screen.

The browser's events come in threads of its server and only go into a queue; one thread takes them out and works.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from funlib.geometry import Roi

from blockwise.arrays.volume import Volume, info
from blockwise.errors import BlockwiseError
from blockwise.grid import Voxels, as_voxels
from contraband.label.layers import BOX, Marks, Shown, prepare
from contraband.label.record import latest
from contraband.label.session import LabelSession
from contraband.models.classes import CLASSES

log = logging.getLogger(__name__)

KEYS = {
    "digit0": "label-background",
    "digit1": "label-inside",
    "digit2": "label-boundary",
    "control+mousedown0": "label-again",
    "keyu": "undo-label",
    "keyn": "next-proposal",
    "keyw": "write-settings",
}
HELP = "0 background, 1 inside, 2 boundary where the mouse points; ctrl+click: the last class; u undo, n next, w write"


class LabelPage:
    """Shows a session in a viewer until it is stopped."""

    def __init__(self, viewer: Any, raw: Volume, session: LabelSession, write: Callable[[], str]) -> None:
        """viewer: neuroglancer's, empty. write: writes settings for a run, and says where."""
        from contraband.volumes.view.source import first_voxel

        self.viewer = viewer
        self.session = session
        self._begin = first_voxel(info(raw))
        self._write = write
        self._events: SimpleQueue[tuple[str, Voxels | None]] = SimpleQueue()
        self._label = CLASSES.index("inside")
        self._box: Roi | None = None
        self._is_stale = True
        self._prediction = Shown((len(CLASSES), *session.shape), "uint8")
        self._segments = Shown(session.shape, "uint64")
        self._marks = Marks(session.shape)
        prepare(viewer, raw, self._prediction, self._segments, self._marks)
        for action in KEYS.values():
            viewer.actions.add(action, lambda state, action=action: self._events.put((action, self._voxel(state))))
        with viewer.config_state.txn() as state:
            for key, action in KEYS.items():
                state.input_event_bindings.data_view[key] = action
                if "mouse" not in key:
                    state.input_event_bindings.viewer[key] = action
        viewer.shared_state.add_changed_callback(lambda: self._events.put(("look", None)))
        self._draw_points()
        self._say(HELP, "keys")

    def run(self) -> None:
        """Work on what comes from the browser until KeyboardInterrupt."""
        self.step(0)
        while True:
            self.step(None)

    def step(self, timeout_s: float | None) -> None:
        """Take the next event and all that have come since, then show what follows from them.

        timeout_s: how long to wait for an event; None: until there is one.
        """
        try:
            event = self._events.get(timeout=timeout_s) if timeout_s != 0 else ("look", None)
            while True:
                self._take(*event)
                event = self._events.get_nowait()
        except Empty:
            pass
        try:
            self._look()
        except BlockwiseError as error:
            self._say(str(error))

    def _take(self, action: str, voxel: Voxels | None) -> None:
        """One event; what goes wrong is said on the page."""
        if action == "look":
            return
        try:
            if action.startswith("label-"):
                self._click(action.removeprefix("label-"), voxel)
            elif action == "undo-label":
                self._undo()
            elif action == "next-proposal":
                self._jump()
            else:
                self._say(self._write())
        except (BlockwiseError, OSError) as error:
            log.warning("%s: %s", action, error)
            self._say(str(error))

    def _click(self, name: str, voxel: Voxels | None) -> None:
        if voxel is None:
            self._say("point at a voxel of the image first")
            return
        self._label = self._label if name == "again" else CLASSES.index(name)
        point = self.session.click(voxel, self._label)  # on the disk when this returns, and drawn only then
        self._draw_points()
        self._is_stale = True
        self._say(f"{CLASSES[point.label]} at {list(point.voxel)}")

    def _undo(self) -> None:
        point = self.session.undo()
        self._draw_points()
        self._is_stale = True
        self._say(f"took back {CLASSES[point.label]} at {list(point.voxel)}" if point else "there is no point to undo")

    def _jump(self) -> None:
        voxel, label = self.session.propose()
        with self.viewer.txn() as state:
            state.position = [at + begin + 0.5 for at, begin in zip(voxel, self._begin, strict=True)]
        self._say(f"what is in the middle, {list(voxel)}? taken for {CLASSES[label]} now")

    def _look(self) -> None:
        """Predict and segment what is on the screen, if it or the points have changed; then score the labels."""
        box = self._visible()
        if not self._is_stale and box == self._box:
            return
        self._box = box
        self._is_stale = False
        if not self.session.is_ready:
            self._prediction.clear()
            self._segments.clear()
            self._refresh()
            self._say("label voxels of two classes to see a prediction", "score")
            self.session.warm(box)
            return
        begin = time.perf_counter()
        self.session.head()
        fitted = time.perf_counter()
        self._prediction.fill(box, np.rint(self.session.predict(box) * 255).astype(np.uint8))
        predicted = time.perf_counter()
        self._segments.fill(box, self.session.segment(box))
        segmented = time.perf_counter()
        self._refresh()
        spans = np.diff([begin, fitted, predicted, segmented]) * 1000
        took = "fit {:.0f}, prediction {:.0f}, segments {:.0f} ms".format(*spans)
        log.info("look: %s, %s", took, box)
        self._say(f"{took}; {self._scored()}", "score")

    def _scored(self) -> str:
        counts = np.bincount([point.label for point in latest(self.session.points)], minlength=len(CLASSES))
        counted = ", ".join(f"{count} {name}" for count, name in zip(counts, CLASSES, strict=True) if count)
        found = self.session.score(lambda: not self._events.empty())  # no click should wait for five fits
        if found is None and not self._events.empty():
            return f"{counted}; ..."
        if found is None:
            return f"{counted}; no score before every class has two labels"
        return f"{counted}; told right when left out: {found.accuracy:.0%} ± {found.spread:.0%}"

    def _visible(self) -> Roi:
        """The box around the middle of the view; the one before, while the view has moved by less than a quarter."""
        shape = self.session.shape
        size = as_voxels(min(one, whole) for one, whole in zip(BOX[self.session.image.recipe.dims], shape, strict=True))
        middle = self._middle()
        if self._box is not None:
            moved = np.abs(np.array(middle) - np.array(self._box.begin) - np.array(self._box.shape) // 2)
            if np.all(moved <= np.array(size) // 4) and self._box.contains(Roi(middle, (1, 1, 1))):
                return self._box
        low = [min(max(0, at - one // 2), whole - one) for at, one, whole in zip(middle, size, shape, strict=True)]
        return Roi(low, size)

    def _middle(self) -> Voxels:
        """The voxel of the image that is nearest to the middle of the view; before there is a view, the image's own."""
        state = self.viewer.state
        position = state.position
        names = list(state.dimensions.names) if state.dimensions is not None else []
        if position is None or len(position) != len(names) or not {"z", "y", "x"} <= set(names):
            return as_voxels(size // 2 for size in self.session.shape)
        found = [position[names.index(axis)] for axis in "zyx"]
        at = [int(np.floor(one)) - first for one, first in zip(found, self._begin, strict=True)]
        return as_voxels(min(max(0, one), size - 1) for one, size in zip(at, self.session.shape, strict=True))

    def _voxel(self, state: Any) -> Voxels | None:
        """The voxel under the mouse, which may lie outside of the image; None if the mouse is on no image."""
        position, dimensions = state.mouse_voxel_coordinates, state.viewer_state.dimensions
        names = list(dimensions.names) if dimensions is not None else ["z", "y", "x"]
        if position is None or len(position) != len(names) or not np.all(np.isfinite(position)):
            return None
        found = [position[names.index(axis)] for axis in "zyx"]
        return as_voxels(int(np.floor(one)) - first for one, first in zip(found, self._begin, strict=True))

    def _draw_points(self) -> None:
        """All points as they are on the disk."""
        self._marks.show(latest(self.session.points))
        self._marks.source.invalidate()

    def _refresh(self) -> None:
        """Let the browser ask for both layers again."""
        for shown in (self._prediction, self._segments):
            shown.source.invalidate()

    def _say(self, note: str, key: str = "label") -> None:
        """Show a line below the image; there is one for each key."""
        with self.viewer.config_state.txn() as state:
            state.status_messages[key] = note
