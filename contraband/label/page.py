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
from blockwise.grid import Voxels
from contraband.label.behind import Behind, RoundReport
from contraband.label.layers import BOX, Marks, Shown, prepare
from contraband.label.pairs import LabelPair
from contraband.label.record import latest
from contraband.label.session import LabelSession, Network
from contraband.label.viewing import middle_of, under_mouse, visible_box
from contraband.models.classes import CLASSES

log = logging.getLogger(__name__)

KEYS = {
    "digit0": "label-background",
    "digit1": "label-inside",
    "digit2": "label-boundary",
    "control+mousedown0": "label-again",
    "keys": "pair-same",
    "keyo": "pair-other",
    "keyu": "undo-label",
    "keyn": "next-proposal",
    "keyt": "take-other",
    "keyw": "write-settings",
}
HELP = "0 background, 1 inside, 2 boundary at the mouse; ctrl+click: the last class; u undo, n next"
HELP_MORE = "s at two voxels: same object, o at two: other objects; t network or quick head; w write settings to run"


class LabelPage:
    """Shows a session in a viewer until it is stopped."""

    def __init__(
        self,
        viewer: Any,
        raw: Volume,
        session: LabelSession,
        write: Callable[[], str],
        training: Behind | None = None,
    ) -> None:
        """viewer: neuroglancer's, empty. write: writes settings for a run, and says where.

        training: what goes on behind the session, if it does; its network takes over where it is better.
        """
        from contraband.volumes.view.source import first_voxel

        self.viewer = viewer
        self.session = session
        self._begin = first_voxel(info(raw))
        self._write = write
        self._events: SimpleQueue[tuple[str, Voxels | None]] = SimpleQueue()
        self._label = CLASSES.index("inside")
        self._first: tuple[Voxels, bool] | None = None
        self._box: Roi | None = None
        self._is_stale = True
        self._is_unscored = False
        self._took = ""
        self._prediction = Shown((len(CLASSES), *session.shape), "uint8")
        self._segments = Shown(session.shape, "uint64")
        self._marks = Marks(session.shape)
        prepare(viewer, raw, self._prediction, self._segments, self._marks, session.image.channels)
        self._bind_keys()
        viewer.shared_state.add_changed_callback(lambda: self._events.put(("look", None)))
        self._draw_points()
        self._say(HELP, "keys")
        self._say(HELP_MORE, "more keys")
        self._training = training
        self._report: RoundReport | None = None
        self._network: Network | None = None
        if training is not None:
            training.listen(lambda: self._events.put(("training", None)))
            self._events.put(("training", None))

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

    def _bind_keys(self) -> None:
        for action in KEYS.values():
            self.viewer.actions.add(action, lambda state, action=action: self._put(action, state))
        with self.viewer.config_state.txn() as state:
            for key, action in KEYS.items():
                state.input_event_bindings.data_view[key] = action
                if "mouse" not in key:
                    state.input_event_bindings.viewer[key] = action

    def _put(self, action: str, state: Any) -> None:
        self._events.put((action, under_mouse(state, self._begin)))

    def _take(self, action: str, voxel: Voxels | None) -> None:
        """One event; what goes wrong is said on the page."""
        if action == "look":
            return
        try:
            if action.startswith("label-"):
                self._click(action.removeprefix("label-"), voxel)
            elif action.startswith("pair-"):
                self._pair(action == "pair-same", voxel)
            elif action == "undo-label":
                self._undo()
            elif action == "next-proposal":
                self._jump()
            elif action == "training":
                self._hear()
            elif action == "take-other":
                self._take_other()
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

    def _pair(self, is_same: bool, voxel: Voxels | None) -> None:
        """The first voxel of a pair is kept in mind, the second one makes it: on the disk, and then drawn."""
        if voxel is None:
            self._say("point at a voxel of the image first")
            return
        what = "the same object" if is_same else "another object"
        key = "s" if is_same else "o"
        if self._first is None or self._first[1] != is_same:
            self._first = (voxel, is_same)
            self._say(f"{list(voxel)} and {what}: press {key} at a voxel of it, too (u: no)")
            return
        pair = self.session.pair(self._first[0], voxel, is_same)
        self._first = None
        self._draw_points()
        self._is_stale = True
        note = f"{list(pair.first)} and {list(pair.second)}: " + ("one object" if is_same else "two objects")
        if self.session.image.recipe.dims == 2 and pair.first[0] != pair.second[0]:
            note += "; sections stand alone, so only that both are inside is used"
        self._say(note)

    def _undo(self) -> None:
        if self._first is not None:
            self._first = None
            self._say("no pair")
            return
        last = self.session.undo()
        self._draw_points()
        self._is_stale = True
        if last is None:
            self._say("there is nothing to undo")
        elif isinstance(last, LabelPair):
            self._say(f"took back the pair {list(last.first)} and {list(last.second)}")
        else:
            self._say(f"took back {CLASSES[last.label]} at {list(last.voxel)}")

    def _jump(self) -> None:
        voxel, label = self.session.propose()
        with self.viewer.txn() as state:
            state.position = [at + begin + 0.5 for at, begin in zip(voxel, self._begin, strict=True)]
        self._say(f"what is in the middle, {list(voxel)}? taken for {CLASSES[label]} now")

    def _hear(self) -> None:
        """What the training does, and its network, which takes over if it is better."""
        assert self._training is not None
        report = self._training.report
        if report is not None and report != self._report:
            self._network = self._training.network(report, self.session.image)
            self._report = report
            self.session.network = self._network if report.is_better else None
            self._is_stale = True
        self._say_training()

    def _take_other(self) -> None:
        """The network instead of the quick head, or the other way round."""
        if self._network is None:
            self._say("there is no trained network yet" if self._training else "nothing is trained: use --train")
            return
        self.session.network = self._network if self.session.network is None else None
        self._is_stale = True
        self._say_training()

    def _say_training(self) -> None:
        if self._training is None:
            return
        shown = "quick head" if self.session.network is None else "trained network"
        scored = f"; {self._report.in_words()}" if self._report else ""
        self._say(f"shown: {shown}{scored}; training: {self._training.doing}", "training")

    def _look(self) -> None:
        """Predict and segment what is on the screen, if it or the points have changed; then score the labels."""
        image = self.session.image
        middle = middle_of(self.viewer.state, self._begin, image.shape)
        box = visible_box(middle, BOX[image.recipe.dims], image.shape, self._box)
        if self._is_stale or box != self._box:
            self._box = box
            self._is_stale = False
            self._show(box)
        if self._is_unscored:
            self._score()

    def _show(self, box: Roi) -> None:
        """Predict and segment a box."""
        self._is_unscored = self.session.is_ready
        if not self.session.is_ready:
            self._prediction.clear()
            self._segments.clear()
            self._refresh()
            self._say("label voxels of two classes to see a prediction", "score")
            self.session.warm(box)
            return
        begin = time.perf_counter()
        if self.session.network is None:
            self.session.head()
        fitted = time.perf_counter()
        self._prediction.fill(box, np.rint(self.session.predict(box) * 255).astype(np.uint8))
        predicted = time.perf_counter()
        self._segments.fill(box, self.session.segment(box))
        segmented = time.perf_counter()
        self._refresh()
        spans = np.diff([begin, fitted, predicted, segmented]) * 1000
        self._took = "fit {:.0f}, prediction {:.0f}, segments {:.0f} ms".format(*spans)
        log.info("look: %s, %s", self._took, box)

    def _score(self) -> None:
        """Say how well the labels are told by one another; if something comes in between, that is done first."""
        found = self.session.score(lambda: not self._events.empty())  # no click should wait for five fits
        self._is_unscored = found is None and not self._events.empty()
        counts = np.bincount([point.label for point in latest(self.session.points)], minlength=len(CLASSES))
        counted = ", ".join(f"{count} {name}" for count, name in zip(counts, CLASSES, strict=True) if count)
        counted += f", {len(self.session.pairs)} pairs" if self.session.pairs else ""
        scored = "no score before every class has two labels"
        if self._is_unscored:
            scored = "..."
        elif found is not None:
            scored = f"told right when left out: {found.accuracy:.0%} ± {found.spread:.0%}"
        self._say(f"{counted}; {scored} ({self._took})", "score")

    def _draw_points(self) -> None:
        """All points as they are on the disk."""
        self._marks.show(latest(self.session.points), self.session.pairs)
        self._marks.source.invalidate()

    def _refresh(self) -> None:
        """Let the browser ask for both layers again."""
        for shown in (self._prediction, self._segments):
            shown.source.invalidate()

    def _say(self, note: str, key: str = "label") -> None:
        """Show a line below the image; there is one for each key."""
        with self.viewer.config_state.txn() as state:
            state.status_messages[key] = note
