"""`contraband label`: from a volume's settings to a page, and from its points to settings that run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import typer
import yaml
from funlib.geometry import Roi
from numpy.typing import NDArray

from blockwise.arrays.volume import Volume, is_there
from blockwise.errors import BadInput
from blockwise.files.whole import write_text, write_whole
from contraband.label.behind import Behind
from contraband.label.page import LabelPage
from contraband.label.pairs import PairsRecord, pairs_beside
from contraband.label.record import PointsRecord
from contraband.label.session import LabelSession
from contraband.label.settings import LabelSettings
from contraband.label.stored import stored_embeddings
from contraband.volumes.output import Output
from contraband.volumes.settings import VolumeSettings, volume_shape
from contraband.volumes.view.viewer import close_viewer, open_server

CONTAINERS = (".zarr", ".n5")


@dataclass(frozen=True)
class GivenFiles:
    """Where a session finds what is there already."""

    points: Path | None = None
    """The CSV of points; None: beside the volume."""
    embeddings: Path | None = None
    """The output that holds embeddings; None: that of the volume, if it has some."""


Begin = Callable[[LabelSession, Path], AbstractContextManager[Behind]]
"""What trains behind a session whose points lie in a file, as long as it is entered; BadInput if it cannot."""


def label(
    settings_file: Path,
    data: Mapping[str, Any],
    settings: LabelSettings,
    given: GivenFiles,
    address: tuple[str, int],
    begin: Begin | None = None,
) -> None:
    """Serve a page on which a volume is labelled, until interrupted; then write what `contraband run` needs.

    data: the plain content of the settings file. address: host and port. begin: begins a training behind the session.
    Raises BadInput before anything is written.
    """
    volume = VolumeSettings.parse(data, settings_file)
    shape = volume_shape(volume.model_copy(update={"affinities": None}))
    raw = Volume(path=volume.volume.raw)  # type: ignore[arg-type]
    first = LabelSession(raw, volume, settings)  # refuses what is no image before there is a page
    stored = _stored(first, raw, volume, given.embeddings)
    record = PointsRecord(given.points or points_beside(raw.path), shape)
    behind = begin(first, record.path) if begin else None
    with record, ExitStack() as stack:
        pairs = PairsRecord(pairs_beside(record.path), shape)
        session = LabelSession(raw, volume, settings, record, pairs)
        session.image.stored = stored

        def write() -> str:
            return f"to segment the volume: contraband run {write_run(settings_file, data, session, record)}"

        viewer = open_server(*address)
        training = stack.enter_context(behind) if behind else None
        page = LabelPage(viewer, raw, session, write, training)
        try:
            typer.echo(f"{page.viewer.get_viewer_url()}  (Ctrl-C ends)")
            page.run()
        except KeyboardInterrupt:
            close_viewer()
        typer.echo(f"points: {record.path if record.path.exists() else 'none'}")
        if session.is_ready:
            typer.echo(write())


def _stored(
    session: LabelSession, raw: Volume, volume: VolumeSettings, named: Path | None
) -> Callable[[Roi], NDArray[np.float32]] | None:
    """Embeddings that need not be computed, which is said; BadInput if those that are named cannot be used."""
    if session.image.recipe.features == "gaussian":
        if named is None:
            return None
        raise BadInput("--embeddings", "of which encoder?", todo="name it by --encoder, a checkpoint or a folder")
    output = named or volume.output
    if named is None and not is_there(Output(output).embeddings.path):
        return None
    try:
        found = stored_embeddings(output, raw, session.image)
    except BadInput as error:
        if named is not None:
            raise
        typer.echo(f"embeddings are computed where one looks: {error}")
        return None
    typer.echo(f"embeddings are read from {output}")
    return found


def stem_of(points: Path) -> str:
    """What files beside the points are called as well: `vol.raw` for `vol.raw.points.csv`."""
    return points.name.removesuffix(".csv").removesuffix(".points")


def points_beside(raw: Path) -> Path:
    """The points of a volume, in the folder of its container: `vol.raw.points.csv` for `vol.zarr/raw`."""
    container = next((one for one in (raw, *raw.parents) if one.suffix in CONTAINERS), raw)
    inner = raw.relative_to(container).parts
    return container.parent / ".".join([container.stem, *inner, "points.csv"])


def write_run(settings_file: Path, data: Mapping[str, Any], session: LabelSession, record: PointsRecord) -> Path:
    """Write what predicts, head or network, and beside the settings file one more that predicts by it; its path.

    Raises BadInput if there are no labels of two classes.
    """
    record.settle()
    target = settings_file.with_name(f"{settings_file.stem}-labelled.yaml")
    if target == settings_file:
        raise BadInput(target, "would be replaced by the settings that are written")
    content = {key: value for key, value in data.items() if key not in ("affinities", "model")}
    rules = session.volume().fragments
    fragments = {"per_section": rules.per_section} | (
        {} if rules.background is None else {"background": rules.background}
    )
    content["model"] = _saved(session, record.path)
    given = content.get("fragments") or {}
    if "head" in content["model"] and not (given.get("foreground") or {}).get("volume"):
        given = {key: value for key, value in given.items() if key != "foreground"}  # a quick head predicts none
    content["fragments"] = {**given, **fragments}
    VolumeSettings.parse(content, target)
    write_text(target, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return target


def _saved(session: LabelSession, points: Path) -> dict[str, str]:
    """The section `model` with what is shown now, in a file beside the points that no further training replaces."""
    if session.network is None:
        head = points.with_name(f"{stem_of(points)}.head.npz")
        session.save_head(head)
        return {"head": str(head)}
    network = points.with_name(f"{stem_of(points)}.network")
    content = session.network.path.read_bytes()
    write_whole(network, lambda file: file.write(content))
    return {"checkpoint": str(network)}
