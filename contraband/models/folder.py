"""The files of one training, as training writes and everything else reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from blockwise.errors import BadInput

_CHECKPOINT = re.compile(r"model_checkpoint_(\d+)")


@dataclass(frozen=True)
class RunFolder:
    """The files of one training."""

    path: Path

    @property
    def history(self) -> Path:
        """The loss of every step."""
        return self.path / "history.npy"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        """The folder TensorBoard reads."""
        return self.path / "tensorboard"

    @property
    def folds(self) -> Path:
        """The folder of trainings without some of the points, while the step to stop at is looked for."""
        return self.path / "folds"

    @property
    def choice(self) -> Path:
        """The step to stop at that they told, and their losses."""
        return self.path / "folds.json"

    def checkpoint(self, step: int) -> Path:
        """The checkpoint written after `step` steps."""
        return self.checkpoints / f"model_checkpoint_{step}"

    def snapshot(self, step: int) -> Path:
        """A zarr group with one batch and its prediction."""
        return self.path / "snapshots" / f"snapshot_{step}.zarr"

    def saved_steps(self) -> list[int]:
        """Steps of the checkpoints that exist, ascending."""
        if not self.checkpoints.is_dir():
            return []
        names = (_CHECKPOINT.fullmatch(entry.name) for entry in self.checkpoints.iterdir())
        return sorted(int(match.group(1)) for match in names if match)

    def require(self, step: int) -> Path:
        """The checkpoint of exactly this step; BadInput lists those there are."""
        path = self.checkpoint(step)
        if not path.is_file():
            there = ", ".join(map(str, self.saved_steps())) or "none"
            raise BadInput(self.checkpoints, f"no checkpoint {step}", todo=f"there are: {there}")
        return path


def latest_checkpoint(path: Path) -> Path:
    """The path itself, or the newest checkpoint of a folder of checkpoints or of a training."""
    if path.is_file():
        return path
    for folder in (RunFolder(path.parent), RunFolder(path)):
        steps = folder.saved_steps() if path in (folder.checkpoints, folder.path) else []
        if steps:
            return folder.checkpoint(steps[-1])
    raise BadInput(path, "holds no checkpoint", todo="train first, or check the path")
