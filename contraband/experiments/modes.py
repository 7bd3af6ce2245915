"""One step of an experiment: `contraband.train`, and the commands train, embed and validate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from blockwise.engine.options import RunOptions
from blockwise.errors import BadInput
from contraband.experiments.folders import Experiment
from contraband.experiments.params import Params, load_params
from contraband.experiments.train import train_contrastive, train_seg
from contraband.experiments.validate import chosen_checkpoints, embed, validate
from contraband.progress import Display

MODES = ("contrastive", "seg", "emb", "val")


def run_mode(folder: Path, mode: str, index: int, checkpoints: Sequence[int], display: Display) -> list[Path]:
    """Run a mode for one combination of an experiment; the files that it made. Raises BadInput for an unknown one."""
    if mode not in MODES:
        raise BadInput("mode", "no such mode", got=mode, wanted=", ".join(MODES))
    experiment = Experiment(folder)
    params = load_params(experiment.param_dict)
    params.combination(index)

    def tell(step: int, total: int, loss: float, its: float) -> None:
        display.update(mode, step, total, f"loss {loss:.4f}, {its:.2f} it/s")

    options = RunOptions(progress=display.update, announce=display.say)
    if mode == "contrastive":
        return [train_contrastive(params, experiment, index, tell)]
    if mode == "seg":
        return train_seg(params, experiment, index, _encoders(params, experiment, index, checkpoints), tell)
    if mode == "emb":
        return embed(params, experiment, index, checkpoints, options)
    return validate(params, experiment, index, checkpoints, options)


def _encoders(params: Params, experiment: Experiment, index: int, checkpoints: Sequence[int]) -> list[int]:
    """The contrastive checkpoints that heads stand on; none if all are baselines."""
    if all(settings.baseline for settings in params.seg):
        return []
    return chosen_checkpoints(experiment.contrastive(index).saved_steps(), checkpoints)
