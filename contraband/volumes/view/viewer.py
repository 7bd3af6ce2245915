"""The viewer of one run: its layers, which appear as they are made, its threshold, its objects and its places."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from blockwise.arrays.volume import Volume, info
from blockwise.errors import BadInput, BlockwiseError
from blockwise.stages.agglomerate.stage import read_ancestry_of
from contraband.volumes.correct.pairs import Correction, read_corrections
from contraband.volumes.output import Output
from contraband.volumes.result import Result
from contraband.volumes.settings import VolumeSettings
from contraband.volumes.view.layers import (
    IMAGES,
    LIVE,
    chosen_layer,
    image_layer,
    layers_of,
    live_volume,
    side_by_side,
    stored_volume,
)
from contraband.volumes.view.numbers import LiveNumbers, open_live
from contraband.volumes.view.sampling import Sampled, largest, look

MOST_OBJECTS = 100
"""So many are listed, the largest first."""
IN_3D = 8
"""So many of them are shown in 3D at first."""
SCREEN_PX = 700
"""About how many pixels the XY view is high: the volume fits into it at first."""


class RunViewer:
    """What `contraband view` shows. Safe to use from several threads."""

    def __init__(self, settings: VolumeSettings, bind: str, port: int) -> None:
        """Raises BadInput if there is nothing to show, or the port is taken."""
        self.settings = settings
        self.live: LiveNumbers | None = None
        self._seen: Sampled | None = None
        self._served: dict[str, Any] = {}
        self._done: dict[str, int] = {}
        self._corrected: list[Correction] = []
        self._lock = threading.RLock()
        self._chosen_layer: str | None = None
        found = layers_of(settings)
        segmented = settings.affinities or settings.volume.raw
        # A raw image may lie elsewhere, or be larger than what is segmented of it.
        known = Volume(path=segmented) if segmented and segmented.exists() else next(iter(found.values()))
        self._space = info(known)
        self.viewer = open_server(bind, port)
        self._begin()
        self.refresh()

    def refresh(self) -> None:
        """Add layers of what has been made since, and show what has been filled in; cheap if nothing has."""
        with self._lock:
            found = layers_of(self.settings)
            if self.live is None:
                self._corrected = self._corrections()
                self.live = open_live(self.settings)
            fresh = {name: volume for name, volume in found.items() if name not in self._served}
            if self.live is not None and LIVE not in self._served:
                fresh[LIVE] = Output(self.settings.output).fragments
            for name, volume in fresh.items():
                self._add(name, volume)
            if fresh:
                self._switch(fresh)
            for name in self._changed():
                self._read_again(name)
            self._follow_corrections()

    def set_threshold(self, threshold: float) -> None:
        """Show all objects at another threshold; those in 3D become what they are called there."""
        self._renumber(lambda live: live.set_threshold(threshold))

    def cut_finer(self, segment: int, threshold: float) -> None:
        """Show one object at a higher threshold than the others."""
        self._renumber(lambda live: live.cut_finer(segment, threshold))

    def renew_surfaces(self) -> None:
        """Have the surfaces in 3D made again: browsers keep those of a source for as long as it is there."""
        with self._lock, self.viewer.txn() as state:
            if LIVE in self._served and self.live is not None:
                old = self._served[LIVE]
                self._served[LIVE] = type(old)(self.live, old.found, is_image=False, is_flat=True)
                state.layers[LIVE].layer.source = self._served[LIVE].placed()

    def choose(self, segment: int, is_chosen: bool) -> None:
        """Show an object in 3D, or not any more."""
        with self._lock, self.viewer.txn() as state:
            if LIVE in state.layers:
                chosen = state.layers[LIVE].layer.segments
                chosen.add(segment) if is_chosen else chosen.discard(segment)

    def go(self, voxel: Sequence[float]) -> None:
        """Move to a voxel (z, y, x) of the volume, counted from its corner; raises BadInput outside of it."""
        shape = self._space.spatial
        if len(voxel) != 3 or not all(0 <= at < size for at, size in zip(voxel, shape, strict=True)):
            raise BadInput("place", "lies outside of the volume", got=list(voxel), wanted=f"z, y, x within {shape}")
        from contraband.volumes.view.source import first_voxel

        with self.viewer.txn() as state:
            state.position = [at + begin + 0.5 for at, begin in zip(voxel, first_voxel(self._space), strict=True)]

    def facts(self) -> dict[str, Any]:
        """What the page shows: threshold, layers, objects with their places, first false merges, corrections."""
        with self._lock:
            live = self.live
            state = self.viewer.state
            return {
                "threshold": live.threshold if live else None,
                "stop": live.stop if live else None,
                "finer": {str(one): at for one, at in live.finer.items()} if live else {},
                "layers": [{"name": layer.name, "visible": layer.visible} for layer in state.layers],
                "objects": self.objects(self._chosen(state)),
                "share": self._seen.share if self._seen else 0,
                "false_merges": self._false_merges(),
                "corrections": [{"kind": one.kind, "pair": one.pair} for one in self._corrected],
            }

    def objects(self, chosen: Iterable[int] = ()) -> list[dict[str, Any]]:
        """The largest objects in sampled blocks at the present threshold; those that are chosen first."""
        if self.live is None:
            return []
        if self._seen is None:
            self._seen = look(self.live.fragments, self.live.shape)
        return largest(self._seen, self.live.numbers(self._seen.fragment), set(chosen))[:MOST_OBJECTS]

    def _add(self, name: str, volume: Volume) -> None:
        import neuroglancer

        with self.viewer.txn() as state:
            if name == LIVE and self.live is not None:
                source = live_volume(self.live, volume)
            else:
                source = stored_volume(volume, name in IMAGES)
            self._served[name] = source
            if name in IMAGES:
                layer = image_layer(name, volume, source)
            else:
                layer = neuroglancer.SegmentationLayer(
                    source=source.placed(), selected_alpha=0.5, not_selected_alpha=0.35
                )
            if name == LIVE:
                layer.segments = [int(row["number"]) for row in self.objects()[:IN_3D]]
            state.layers.append(name=name, layer=layer)

    def _switch(self, fresh: Collection[str]) -> None:
        """Show raw and the chosen layer; what people have switched stays, unless a better layer has come."""
        threshold = self.settings.segment.thresholds[0]
        with self.viewer.txn() as state:
            names = [layer.name for layer in state.layers]
            chosen = chosen_layer(names, threshold)
            for layer in state.layers:
                if layer.name in fresh:
                    layer.visible = layer.name in ("raw", chosen)
                elif layer.name == self._chosen_layer != chosen:
                    layer.visible = False
            self._chosen_layer = chosen
            state.layout = side_by_side(names)

    def _begin(self) -> None:
        """The whole plane in the middle of the volume in sight."""
        from contraband.volumes.view.source import coordinates

        _, height, width = self._space.spatial
        sizes = [by * along for by, along in zip(self._space.voxel_size, self._space.spatial, strict=True)]
        with self.viewer.txn() as state:
            state.dimensions = coordinates(self._space)
            state.display_dimensions = ["x", "y", "z"]
            state.show_slices = False
            state.cross_section_scale = max(height, width) / SCREEN_PX
            state.projection_scale = 2 * max(sizes) / min(self._space.voxel_size)
        self.go([along // 2 for along in self._space.spatial])

    def _changed(self) -> list[str]:
        """Layers into which blocks have been written since the last time."""
        if not self.settings.output.is_dir():
            return []
        try:
            done = Result(self.settings).blocks_done()
        except BlockwiseError:
            return []
        changed = {name for name, count in done.items() if count != self._done.get(name, count)}
        changed |= {"affinities"} if "predict" in changed else set()
        self._done = done
        return [name for name in self._served if name.replace("segments/", "segment/") in changed]

    def _read_again(self, name: str) -> None:
        source = self._served[name]
        source.pieces.forget()
        source.invalidate()

    def _renumber(self, change: Callable[[LiveNumbers], None]) -> None:
        with self._lock:
            if self.live is None:
                raise BadInput("threshold", "cannot be chosen yet", todo="run the volume up to agglomerate")
            change(self.live)
            with self.viewer.txn() as state:
                layer = state.layers[LIVE].layer
                layer.segments = self.live.renumbered(layer.segments)
            self._served[LIVE].invalidate()

    def _chosen(self, state: Any) -> list[int]:
        return [int(one) for one in state.layers[LIVE].layer.segments] if LIVE in state.layers else []

    def _false_merges(self) -> list[Mapping[str, Any]]:
        try:
            rows: list[Mapping[str, Any]] = Result(self.settings).evaluation["false_merges"]
        except BlockwiseError:
            return []
        return rows

    def _corrections(self) -> list[Correction]:
        try:
            return read_corrections(Output(self.settings.output).corrections, self._space.spatial)
        except BlockwiseError:
            return []

    def _follow_corrections(self) -> None:
        """Show what corrections make of the segments, once the dendrogram that they lead to is whole."""
        kept = self._corrections()
        if self.live is None or kept == self._corrected:
            return
        try:
            ways = read_ancestry_of(Result(self.settings).tree)
        except BlockwiseError:  # not finished
            return
        self._corrected = kept
        self._renumber(lambda live: live.follow(ways))
        for name in self._served:
            self._read_again(name)


def open_server(bind: str, port: int) -> Any:
    """A neuroglancer viewer on a server of its own; raises BadInput if it cannot be had."""
    try:
        import neuroglancer
        import neuroglancer.server
    except ImportError:
        raise BadInput(
            "view", "neuroglancer is not installed", todo='install the extra: pip install "contraband[view]"'
        ) from None
    neuroglancer.server.stop()
    neuroglancer.set_server_bind_address(bind, port)
    try:
        return neuroglancer.Viewer()
    except OSError as error:
        from contraband.volumes.monitor.serving import not_listening

        raise not_listening(bind, port, error) from None


def close_viewer() -> None:
    """Stop the server."""
    import neuroglancer.server

    neuroglancer.server.stop()
