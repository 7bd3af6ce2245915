"""The stage that predicts, as the settings of a volume want it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

from blockwise.arrays.placement import covering
from blockwise.arrays.volume import Volume, info, is_there
from blockwise.cluster.settings import Cluster
from blockwise.errors import BadInput
from blockwise.grid import Grid, Voxels, as_voxels
from contraband.models.engines.base import check_installed, is_installed
from contraband.models.engines.choice import EngineChoice, measure
from contraband.models.facts import KnownNetworks
from contraband.models.folder import latest_checkpoint
from contraband.models.foreign.description import StoredDescription
from contraband.models.foreign.settings import NEAREST, NetworkUse
from contraband.volumes.channels import chosen_channels
from contraband.volumes.described import with_description
from contraband.volumes.output import Output
from contraband.volumes.predict import Predict
from contraband.volumes.predictors import PredictorChoice, load_predicting, network_facts
from contraband.volumes.processors import are_workers_here
from contraband.volumes.settings import Model, VolumeSettings
from contraband.volumes.tile_choice import TileChoice, choose_tile

GPU_BYTES = 4_000_000_000
"""What a tile may take on a GPU, which need not be in this machine; where it is too much it is computed in halves."""
MANY_TILES = 64
"""So many take far longer than it takes to try which program computes them fastest."""
FASTER = (
    "model.engine: auto and model.tile: auto would try which program and tile take the least time, on a CPU mostly "
    "several times less; affinities then differ by rounding"
)
LEAST_NEAR = 16
"""Voxels from the mask, on each axis, within which tiles are predicted in any case: fragments never look further."""


def prediction_stage(settings: VolumeSettings, shape: Voxels, block: Voxels) -> Predict:
    """The stage that predicts for a volume; what it needs is known of a finished prediction, else it is loaded here."""
    model, description = _described(settings)
    is_head = model.head is not None
    use = network_use(model)
    known = _known_networks(settings, model)
    tile_choice, wanted = _chosen_tile(settings, model, shape, block, known)
    choice = _chosen_engine(settings, model, wanted, known)
    engine, computes_in = _engine_of_checkpoint(model, settings.cluster, choice)
    is_small = is_head or model.classical is not None
    on_gpu = settings.cluster.gpus > 0 and not is_small and (use.engine if use else engine) == "torch"
    device = "cpu" if is_small else "cuda" if on_gpu and model.device == "auto" else model.device
    _check_compiler(settings, model, device)
    checkpoint, *others = _files(model)
    how: dict[str, Any] = {
        "levels": model.levels,
        "network": use,
        "classical": model.classical,
        "augment": model.augment,
        "further": tuple(one for one in others if one is not None),
    }
    asked = PredictorChoice(model.stored, "cpu" if on_gpu else device, disagreement=model.disagreement, **how)
    predictor = load_predicting(checkpoint, is_head, asked, known)
    raw: Path = settings.volume.raw  # type: ignore[assignment]
    channels = chosen_channels(settings.volume, None if model.classical else predictor.in_channels)
    output = Output(settings.output)
    return Predict(
        raw=Volume(path=raw),
        target=output.array(model.stored),
        checkpoint=checkpoint,
        is_head=is_head,
        weights=predictor.fingerprint,
        output=model.stored,
        device=device,
        precision="float32" if is_small else use.precision if use else computes_in,
        engine=engine,
        engine_choice=choice,
        compile=model.compile,
        shape=shape,
        **_blocks(tile_choice, block),
        tile=predictor.fit_output(wanted),
        context=predictor.context,
        channels=predictor.channels - predictor.has_foreground - model.disagreement,
        offsets=tuple((int(z), int(y), int(x)) for z, y, x in predictor.offsets),
        needs_gpu=on_gpu,
        percentiles=predictor.percentiles,
        norm_factor=predictor.norm_factor,
        raw_channels=channels,
        takes_every_channel=settings.volume.channels is None,
        foreground=output.foreground if predictor.has_foreground else None,
        disagreement=output.disagreement if model.disagreement else None,
        networks=output.networks if engine == "openvino" else None,
        known=known.asked_for,
        description=description,
        is_computed_here=not is_small and are_workers_here(settings.cluster),
        other_processors=model.other_processors,
        **_masking(settings, model, predictor.context),
        remarks=tuple(_remarks(settings, model, choice, tile_choice, Grid("predict", shape, wanted))),
        **how,
    )


def _described(settings: VolumeSettings) -> tuple[Model, StoredDescription | None]:
    """The model with what its network's description says, and what is kept of that."""
    told: Model = settings.model  # type: ignore[assignment]
    return with_description(told, _stored(settings, told, "description"))


def _remarks(
    settings: VolumeSettings, model: Model, engine: EngineChoice | None, tile: TileChoice | None, tiles: Grid
) -> Iterator[str]:
    """How a checkpoint is computed, if it was left open or takes a while to begin with, or could take less."""
    if not model.checkpoints:
        return
    checkpoint = latest_checkpoint(model.checkpoints[0])
    if engine is not None:
        yield f"{checkpoint}: engine auto is {engine.engine}: {engine.why}"
    if tile is not None:
        yield f"{checkpoint}: tile auto is {'x'.join(map(str, tile.tile))}: {tile.why}"
    if (engine.engine if engine else model.engine) == "openvino":
        networks = Output(settings.output).networks
        yield f"{checkpoint}: computed by OpenVINO; converted once for its tiles, and kept in {networks}"
    elif _could_be_faster(settings, model, tiles):
        yield f"{checkpoint}: {FASTER}"


def _could_be_faster(settings: VolumeSettings, model: Model, tiles: Grid) -> bool:
    """Whether a checkpoint is computed on a CPU by what is there anyway, and that is much to do and just begins."""
    if model.engine is not None or model.tile is not None or tiles.count < MANY_TILES or _why_torch(settings, model):
        return False
    return not is_there(Output(settings.output).array(model.stored).path)


def _check_compiler(settings: VolumeSettings, model: Model, device: str) -> None:
    """Refuse to compile where nothing can: on other machines workers find out."""
    if model.compile and are_workers_here(settings.cluster):
        from contraband.models.hardware import check_compiler

        check_compiler("model.compile", device)


def _masking(settings: VolumeSettings, model: Model, context: Voxels) -> dict[str, Any]:
    """The fields that say which tiles are not wanted."""
    raw = settings.volume.raw
    wanted: dict[str, Any] = {"skip_constant": model.skip_constant}
    if settings.volume.mask is None or raw is None or not model.skip_masked:
        return wanted
    mask = Volume(path=settings.volume.mask)
    near = as_voxels(max(LEAST_NEAR, lost) for lost in context)
    return wanted | {"mask": mask, "mask_placed": covering(mask, Volume(path=raw)), "mask_near": near}


def network_use(model: Model) -> NetworkUse | None:
    """How the network of a file is used; None if none is named. Raises BadInput if nothing here computes it."""
    if model.network is None:
        return None
    from contraband.models.foreign.files import engine_for

    engine = engine_for(model.network, model.engine)
    precision = "float32" if model.precision == "auto" else model.precision
    if precision != "float32":
        if engine != "openvino":
            raise BadInput("model.precision", f"{engine} computes a network file in float32 only", got=precision)
        from contraband.models.engines.openvino import check_precision

        check_precision(precision, "model.precision")
    return NetworkUse(
        engine=engine,
        precision=precision,
        context=model.context or (0, 0, 0),
        stride=model.stride or (1, 1, 1),
        input=model.input,
        says=model.output,
        offsets=model.offsets or NEAREST,
    )


def _known_networks(settings: VolumeSettings, model: Model) -> KnownNetworks:
    """What networks told when it was predicted; nothing where a device is named, which only loading them tries."""
    stored = _stored(settings, model, "networks")
    return KnownNetworks(stored if isinstance(stored, list) and model.device in ("auto", "cpu") else ())


def _stored(settings: VolumeSettings, model: Model, key: str) -> Any:
    """An attribute of what was predicted; None where there is none that can be read."""
    target = Output(settings.output).array(model.stored)
    with suppress(BadInput):
        return info(target).attributes.get(key) if is_there(target.path) else None
    return None


def _files(model: Model) -> list[Path | None]:
    """What predicts, the first of several first; None for rules."""
    return [latest_checkpoint(one) for one in model.checkpoints] or [model.head or model.network]


def _blocks(choice: TileChoice | None, block: Voxels) -> dict[str, Any]:
    """The fields that say in which blocks it is predicted, and that shards are those of the volume all the same."""
    return {"block": choice.block, "shard": block, "tile_choice": choice} if choice else {"block": block}


def _chosen_tile(
    settings: VolumeSettings, model: Model, shape: Voxels, block: Voxels, known: KnownNetworks
) -> tuple[TileChoice | None, Voxels]:
    """What `tile: auto` means, as it is stored with the prediction, else chosen now, and the tile that is wanted.

    The choice is None if the tile is told; if nothing is, it is a block.
    """
    if model.tile != "auto":
        return None, model.tile or block
    checkpoint = latest_checkpoint(model.checkpoints[0])
    how = PredictorChoice(model.stored, "cpu", levels=model.levels)
    load: Callable[[], Any] = cache(partial(load_predicting, checkpoint, False, how))
    measured = f"{network_facts(checkpoint, how, known, load).fingerprint} {list(block)}"
    if kept := TileChoice.kept(_stored(settings, model, "tile"), measured, "tile"):
        return kept, kept.tile
    predictor: Any = load()
    on_gpu, cluster = _on_gpu(settings, model), settings.cluster
    grid = Grid("predict", shape, block, predictor.context, predictor.context)
    memory = GPU_BYTES if on_gpu else cluster.share_bytes
    workers = 1 if cluster.in_process else cluster.gpus or cluster.most_workers * cluster.threads
    tile, blocks, why = choose_tile(grid, predictor.fit_output, predictor.needed_bytes, memory, workers)
    return TileChoice(tile=tile, block=blocks, why=why, measured=measured), tile


def _chosen_engine(settings: VolumeSettings, model: Model, wanted: Voxels, known: KnownNetworks) -> EngineChoice | None:
    """What `engine: auto` means for a checkpoint, as it is stored with the prediction, else measured; None if told.

    wanted: the tile that the prediction is to have.
    """
    if model.engine != "auto" or not model.checkpoints:
        return None
    checkpoint = latest_checkpoint(model.checkpoints[0])
    predictor = load_predicting(checkpoint, False, PredictorChoice(model.stored, "cpu", levels=model.levels), known)
    tile = predictor.fit_output(wanted)
    measured = f"{predictor.fingerprint} {list(tile)}"
    if model.precision != "auto":
        measured += f" {model.precision}"
    if kept := EngineChoice.kept(_stored(settings, model, "engine"), measured, "engine"):
        return kept
    if why := _why_torch(settings, model):
        return EngineChoice(engine="torch", why=why, measured=measured)
    engine, precision, why = measure(checkpoint, model.stored, model.levels, model.precision, tile)
    return EngineChoice(engine=engine, precision=precision, why=why, measured=measured)


def _why_torch(settings: VolumeSettings, model: Model) -> str:
    """Why there is nothing to be measured; empty if there is."""
    if _on_gpu(settings, model):
        return "a GPU computes it"
    return "" if is_installed("openvino") else "OpenVINO is not installed"


def _on_gpu(settings: VolumeSettings, model: Model) -> bool:
    """Whether torch would compute on a GPU, of a worker or of this machine."""
    from contraband.models.hardware import choose_device

    return settings.cluster.gpus > 0 or choose_device(model.device).type == "cuda"


def _engine_of_checkpoint(model: Model, cluster: Cluster, choice: EngineChoice | None) -> tuple[str, str]:
    """What computes a checkpoint, and in what; raises BadInput if it does not do so as it is told.

    choice: what `engine: auto` means.
    """
    if choice is not None:
        check_installed(choice.engine, "model.engine")
        return choice.engine, model.precision if choice.engine == "torch" else choice.precision or "float32"
    if model.checkpoint is None or model.engine in (None, "torch"):
        return "torch", model.precision
    if model.device == "cuda":
        raise BadInput("model.device", "openvino computes on a CPU", got=model.device, todo="use engine: torch")
    check_installed("openvino", "model.engine")
    if model.precision in ("auto", "float32"):  # auto is the same on a machine that only asks for the status
        return "openvino", "float32"
    if are_workers_here(cluster):
        from contraband.models.engines.openvino import check_precision

        check_precision(model.precision, "model.precision")
    return "openvino", model.precision
