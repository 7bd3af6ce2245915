"""How the network behind a labelling session is trained: small enough for a processor, or as a file says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from blockwise.errors import BadInput
from blockwise.grid import Voxels
from blockwise.settings import read_yaml
from contraband.experiments.building import network_shapes
from contraband.experiments.labels import seg_pairs
from contraband.experiments.params import Params, parse_params
from contraband.models.settings import ModelSettings
from contraband.models.unet import UNet

Plain = dict[str, Any]

STEPS = {2: 120, 3: 80}
LOOKS = 4
"""Steps of a training, after which labels that are left out are looked at, that one may end at."""

MODELS: dict[int, Plain] = {
    2: {"in_shape": [64, 64], "num_fmaps": 16, "downsample_factors": [[2, 2], [2, 2]]},
    3: {"in_shape": [28, 44, 44], "num_fmaps": 8, "downsample_factors": [[2, 2, 2]]},
}
AUGMENTED: Plain = {
    "elastic": [True],
    "elastic_params": [{"jitter_sigma": [0, 0, 0], "rotation_interval": [0, "2 * pi"], "scale_interval": [0.8, 1.25]}],
    "simple": [True],
    "intensity": [True],
    "intensity_params": [{"gain": [0.6, 1.6], "gamma": [0.7, 1.4], "scale": [0.8, 1.2], "shift": [-0.1, 0.1]}],
    "noise": [True],
    "noise_params": [{"var": 0.0025}],
    "augment": ["device"],  # whole batches at once: half the time
    "snapshot_every": [100_000],
}


def default_params(dims: int, shape: Voxels, stretch: Literal["section", "volume"] | None, channels: int = 1) -> Plain:
    """Sections of a param_dict.json for a volume of this shape: a contrastive start, then labels with joint denoising.

    These are the settings of the study on nuclei with fewer steps, and a smaller network in 3D.
    """
    common = AUGMENTED | ({"normalize": ["percentile"], "percentile_params": [{"per": stretch}]} if stretch else {})
    contrast = {
        "levels": [3 if dims == 2 else 2],
        "temperature": [0.1],
        "point_density": [0.1 if dims == 2 else 0.01],
        "lr": [1e-3],
        "num_iterations": [200 if dims == 2 else 60],
        "save_every": [50],
        "keep_checkpoints": [1],
        "batch_size": [8 if dims == 2 else 2],
        "ema_decay": [0.99],
    }
    seg = {
        "levels": [3 if dims == 2 else 2],
        "joint": [{"denoise": {}}],
        "optimizer": ["adamw"],
        "lr": [2e-3],
        "warmup_steps": [20],
        "cooldown": [0.3],
        "num_iterations": [STEPS[dims]],
        "save_every": [STEPS[dims] // LOOKS],
        "batch_size": [4 if dims == 2 else 2],
        "ema_decay": [0.95],
    }
    model = MODELS[dims] | ({"in_channels": channels} if channels > 1 else {})
    return {"model": [_fitting(model, shape[3 - dims :])], "contrastive": common | contrast, "seg": common | seg}


def params_of(file: Path) -> Plain:
    """The sections of a file that is no grid; data, points and seeds are those of the session. Raises BadInput."""
    plain = read_yaml(file, tabs_are_spaces=True)
    for name in ("model", "seg"):
        if name not in plain:
            raise BadInput(file, f"has no section {name}", todo="add it")
    return {name: plain[name] for name in ("model", "contrastive", "seg") if name in plain}


def checked(plain: Plain, raw: Path, where: object, dims: int) -> Params:
    """The settings of a session's trainings; BadInput if they are a grid, or cannot be used with this image."""
    params = parse_params(for_session(plain, raw, Path("points.csv"), 0), where)
    for name in ("model", "contrastive", "seg"):
        if len(getattr(params, name)) > 1:
            raise BadInput(f"{where}: {name}", "is a grid", got=len(getattr(params, name)), wanted="one option of each")
    model = params.model[0]
    if model.dims != dims:
        raise BadInput(f"{where}: model.in_shape", "does not fit the session", got=f"{model.dims}D", wanted=f"{dims}D")
    seg_pairs(params.seg[0])[0].check(network_shapes(UNet(model), model)[1], model.in_channels)
    return params


def for_session(plain: Plain, raw: Path, points: Path, seed: int) -> Plain:
    """A param_dict.json that learns classes from points of an image, with the sections of another one."""
    data = {"data_file": [str(raw.parent)], "seed": [seed]}
    seg = plain["seg"] | data | {"dataset": [{"train": {"raw": raw.name}}], "points": [[str(points)]]}
    seg |= {"sparse_target": ["classes"], "baseline": ["contrastive" not in plain], "folds": [0]}
    result = {"pipeline": "baseline_sparse_sh", "model": plain["model"], "seg": seg}
    if "contrastive" in plain:
        result["contrastive"] = plain["contrastive"] | data | {"dataset": [[raw.name]]}
    return result


def stopped_at(plain: Plain, params: Params, step: int) -> Plain:
    """The same, ending after a step; what changes over the training is spread over as many steps as before."""
    return plain | {"seg": plain["seg"] | {"num_iterations": [step], "schedule_steps": [params.seg[0].planned_steps]}}


def _fitting(model: Plain, shape: Sequence[int]) -> Plain:
    """The model with an input whose output fits into a volume."""
    base = UNet(ModelSettings.parse(model, "model"))
    output = [min(one, size) for one, size in zip(base.output_shape(model["in_shape"]), shape, strict=True)]
    return model | {"in_shape": list(base.valid_input(output))}
