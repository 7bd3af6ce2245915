"""Every path of an experiment; nothing else joins or splits them.

    experiments/<dataset>/EXP<n>-<short_desc>-<month>-<day>-<year>/
        param_dict.json, best_metrics.csv
        combination-<i>/contrastive/{history.npy, checkpoints, snapshots}
        combination-<i>/seg/combination-<j>/contrastive_ckpt<c>/{..., metrics, samples}
        combination-<i>/emb/contrastive_ckpt<c>/<dataset>/raw_embs.zarr

A baseline needs no contrastive checkpoint; its folder is `contrastive_ckpt0`.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from blockwise.errors import BadInput, looked_for
from contraband.models.folder import RunFolder

log = logging.getLogger(__name__)

BASELINE = 0
"""The number that stands for "no contrastive checkpoint"."""

_METRICS = re.compile(r"metrics_(\d+)\.csv")


class SegFolder(RunFolder):
    """The files of one training of a segmentation head, and of its validation."""

    def metrics(self, step: int) -> Path:
        """Scores of one checkpoint."""
        return self.path / "metrics" / f"metrics_{step}.csv"

    def validated_steps(self) -> list[int]:
        """Checkpoints whose scores exist, ascending."""
        names = (_METRICS.fullmatch(path.name) for path in (self.path / "metrics").glob("metrics_*.csv"))
        return sorted(int(match.group(1)) for match in names if match)

    def place(self) -> tuple[str, str, str]:
        """Folder names of the first and second combination and of the contrastive checkpoint."""
        return self.path.parents[2].name, self.path.parent.name, self.path.name

    def sample(self, step: int) -> Path:
        """Predictions and segmentations of one checkpoint."""
        return self.path / "samples" / f"sample_{step}.zarr"


@dataclass(frozen=True)
class Experiment:
    """One `EXP<n>-...` folder."""

    path: Path

    @property
    def param_dict(self) -> Path:
        """The settings of the experiment."""
        return self.path / "param_dict.json"

    @property
    def best_metrics(self) -> Path:
        """The best scores of everything that was validated."""
        return self.path / "best_metrics.csv"

    @property
    def dataset(self) -> str:
        """Name of the dataset folder it lies in."""
        return self.path.parent.name

    @property
    def number(self) -> int:
        """The n of `EXP<n>`."""
        match = re.match(r"EXP(\d+)", self.path.name)
        return int(match.group(1)) if match else 0

    def combination(self, index: int) -> Path:
        """Folder of one contrastive x model combination."""
        return self.path / f"combination-{index}"

    def contrastive(self, index: int) -> RunFolder:
        """Folder of one contrastive training."""
        return RunFolder(self.combination(index) / "contrastive")

    def seg(self, index: int, seg_index: int, checkpoint: int = BASELINE) -> SegFolder:
        """Folder of one head on one contrastive checkpoint; 0 is a baseline's."""
        folder = self.combination(index) / "seg" / f"combination-{seg_index}"
        return SegFolder(folder / f"contrastive_ckpt{checkpoint}")

    def embeddings(self, index: int, checkpoint: int, dataset: str) -> Path:
        """Embeddings of a raw dataset; `train/raw` and `train` both give `train/raw_embs.zarr`."""
        names = PurePosixPath(dataset.strip("/")).parts
        if not names or ".." in names:
            raise BadInput("dataset", "is not a dataset inside a container", got=dataset or "''")
        folder = self.combination(index) / "emb" / f"contrastive_ckpt{checkpoint}"
        return folder.joinpath(*(names[:-1] or names)) / "raw_embs.zarr"


def find_experiment(dataset: str, number: int, base: Path = Path("experiments")) -> Experiment:
    """The folder `EXP<number>-*` of a dataset; BadInput if there is none or more than one.

    A folder spelled `expirements`, as older projects have it, is read with a warning.
    """
    folder = _dataset_folder(dataset, base)
    found = [path for path in folder.iterdir() if path.is_dir() and _numbered(path.name, number)]
    if not found:
        there = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir())) or "nothing"
        raise BadInput(folder, f"no experiment EXP{number}-*", todo=f"there is: {there}")
    if len(found) > 1:
        names = ", ".join(sorted(path.name for path in found))
        raise BadInput(folder, f"EXP{number} is ambiguous", got=names, todo="rename all but one")
    return Experiment(found[0])


def _dataset_folder(dataset: str, base: Path) -> Path:
    misspelt = base.with_name("expirements")
    for root in (base, misspelt):
        if dataset and (root / dataset).is_dir():
            if root == misspelt and base != misspelt:
                log.warning("%s: 'expirements' is read as 'experiments'; please rename it", root)
            return root / dataset
    there = [path.name for root in (base, misspelt) if root.is_dir() for path in root.iterdir() if path.is_dir()]
    todo = f"there is: {', '.join(sorted(there)) or 'nothing'}{looked_for(base)}"
    raise BadInput(base, f"no dataset folder {dataset!r}", todo=todo)


def _numbered(name: str, number: int) -> bool:
    match = re.match(r"EXP(\d+)(?:-|$)", name)
    return bool(match) and int(match.group(1)) == number if match else False
