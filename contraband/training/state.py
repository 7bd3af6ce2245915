"""What changes during a training, and what is told about it while it runs."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from blockwise.errors import WorkFailed
from contraband.models.folder import RunFolder
from contraband.training.pictures import sections
from contraband.training.settings import TrainSettings
from contraband.training.tasks import Pictures, plain


class StepProgress(Protocol):
    """Told after every step on a CPU, after every `log_every` steps on a GPU."""

    def __call__(self, step: int, total: int, loss: float, its: float, /) -> object:
        """`step` of `total` done, with this loss, at `its` steps a second since the command started."""


@dataclass
class State:
    """Weights, their moving average, the optimiser, and the loss of every step so far."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    average: list[Tensor]
    step: int = 0
    history: list[float] = field(default_factory=list)
    held_out: list[tuple[int, float]] = field(default_factory=list)
    """Steps and the loss after them on points that are held out, where some are."""
    seconds: float = 0.0
    """Time spent on the steps so far, all commands together."""
    saved: int = 0
    """The step of the newest checkpoint."""
    interrupted_at: int | None = None
    """The step of the checkpoint that it went on from, if that is only there since the training was interrupted."""

    def learn(self, loss: Tensor, ema_decay: float, lr: float | None = None) -> None:
        """One step down the gradient; the average follows, faster in the first steps, when it is far from anything.

        lr: the rate of this step; left out, that of the optimiser.
        """
        for group in self.optimizer.param_groups if lr is not None else ():
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.step += 1
        decay = min(ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, [p.detach() for p in self.network.parameters()], 1 - decay)

    def averaged(self) -> dict[str, Tensor]:
        """The moving average of the weights, by name."""
        names = [name for name, _ in self.network.named_parameters()]
        return dict(zip(names, self.average, strict=True))

    def content(self) -> dict[str, Any]:
        """What changes in a checkpoint."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "network": {name: plain(value) for name, value in self.network.state_dict().items()},
            "ema": {name: plain(value) for name, value in self.averaged().items()},
            "optimizer": self.optimizer.state_dict(),
            "history": torch.tensor(self.history, dtype=torch.float64),
            "held_out": torch.tensor(self.held_out, dtype=torch.float64).reshape(-1, 2),
        }

    def restore(self, content: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.network.load_state_dict(content["network"])
        self.optimizer.load_state_dict(content["optimizer"])
        for mine, saved in zip(self.average, content["ema"].values(), strict=True):
            mine.copy_(saved)
        self.step = int(content["step"])
        self.history = content["history"].tolist()
        self.held_out = [(int(step), loss) for step, loss in content.get("held_out", torch.zeros(0, 2)).tolist()]
        self.seconds = float(content.get("seconds", 0.0))
        self.saved = self.step
        self.interrupted_at = self.step if content.get("interrupted") else None


def is_finished(state: State, settings: TrainSettings) -> bool:
    """True if the steps or the time that the settings grant are used up."""
    out_of_time = settings.max_seconds is not None and state.seconds >= settings.max_seconds
    return state.step >= settings.num_iterations or out_of_time


class Recorder:
    """Reads losses from the device into the history, and passes them on to TensorBoard and the caller."""

    def __init__(self, settings: TrainSettings, folder: RunFolder, state: State, progress: StepProgress | None) -> None:
        self.settings = settings
        self.folder = folder
        self.first_step = state.step
        self.progress = progress
        self.started = time.monotonic() - state.seconds
        self.first_second = state.seconds
        self.pending: list[Tensor] = []
        self.board = SummaryWriter(str(folder.tensorboard), purge_step=state.step + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.board.close()

    def is_last(self, state: State) -> bool:
        """True after the last step there shall be, or once the time is over."""
        state.seconds = time.monotonic() - self.started
        return is_finished(state, self.settings)

    def note(self, state: State, loss: Tensor, at_once: bool) -> None:
        """Take the loss of a step. Reading it waits for the device, so that is done once in a while, or `at_once`."""
        self.pending.append(loss.detach())
        logged = state.step % self.settings.log_every == 0
        if not (at_once or logged or loss.device.type == "cpu"):
            return
        self.catch_up(state)
        its = (state.step - self.first_step) / max(state.seconds - self.first_second, 1e-9)
        if logged:
            self.board.add_scalar("loss", state.history[-1], state.step)
            self.board.add_scalar("steps_per_second", its, state.step)
        if self.progress is not None:
            self.progress(state.step, self.settings.num_iterations, state.history[-1], its)

    def show(self, state: State, pictures: Pictures) -> None:
        """One section of each volume of a snapshot, for TensorBoard."""
        for name, section in sections(pictures).items():
            self.board.add_image(name, section, state.step)

    def catch_up(self, state: State) -> None:
        """Move the pending losses into the history; WorkFailed at the first that is not a number."""
        for value in torch.stack(self.pending).double().tolist() if self.pending else ():
            if not math.isfinite(value):
                raise WorkFailed(
                    f"{self.folder.path}: the loss is {value} at step {len(state.history) + 1}; the newest checkpoint "
                    "is kept; lower lr, raise temperature or check that norm_factor brings raw to at most 1"
                )
            state.history.append(value)
        self.pending.clear()
