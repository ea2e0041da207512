"""All that changes while a run trains."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ablations.training.optimiser import Optimiser
from ablations.training.streams import Streams


@dataclass(frozen=True)
class Best:
    """What early stopping returns to: the first epoch with the lowest validation error (Goodfellow et al. 2016,
    Deep Learning, algorithm 7.1)."""

    epoch: int
    error: float
    weights: dict[str, Tensor]


@dataclass
class Clock:
    """Seconds, over all processes that have trained the run."""

    run: float = 0.0  # of the run as a whole
    steps: float = 0.0  # in the steps of all epochs
    epoch: float = 0.0  # in the steps of this epoch
    read: float = field(default_factory=time.perf_counter)  # when time was last counted
    in_steps: bool = False

    def tick(self) -> float:
        """Count the time since the last reading. The seconds of the run."""
        now = time.perf_counter()
        passed, self.read = now - self.read, now
        self.run += passed
        if self.in_steps:
            self.steps += passed
            self.epoch += passed
        return self.run

    def start_steps(self) -> None:
        """From here on time is spent in steps."""
        self.tick()
        self.in_steps = True

    def stop_steps(self) -> None:
        """From here on it is not."""
        self.tick()
        self.in_steps = False


@dataclass
class State:
    """A run on its way, before batch `batch` of epoch `epoch`. Its checkpoint, restored by another process, goes on
    to the same numbers to the bit."""

    net: nn.Module
    optimiser: Optimiser
    streams: Streams
    total_loss: Tensor  # over the batches of this epoch
    epoch: int = 1
    batch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: Best | None = None
    snapshots: dict[int, str] = field(default_factory=dict)  # SHA-256 of those kept so far, by epoch
    clock: Clock = field(default_factory=Clock)

    def begin_epoch(self, epoch: int) -> None:
        """Before the first batch of an epoch."""
        self.epoch, self.batch = epoch, 0
        self.total_loss.zero_()
        self.clock.epoch = 0.0

    def checkpoint(self) -> dict[str, Any]:
        """Tensors and plain values."""
        self.clock.tick()
        device = self.total_loss.device
        return {
            "net": self.net.state_dict(),
            "optimiser": self.optimiser.tensors,
            "streams": self.streams.marked,  # as they were when the epoch began: its order and draws are made again
            "chance": torch.get_rng_state(),
            "chance_on_device": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
            "total_loss": self.total_loss,
            "epoch": self.epoch,
            "batch": self.batch,
            "history": self.history,
            "best": self.best and vars(self.best),
            "snapshots": self.snapshots,
            "clock": [self.clock.run, self.clock.steps, self.clock.epoch],
        }

    def restore(self, checkpoint: dict[str, Any]) -> None:
        """Become what a checkpoint of the same run was."""
        self.net.load_state_dict(checkpoint["net"])
        for ours, theirs in zip(self.optimiser.tensors, checkpoint["optimiser"], strict=True):
            ours.copy_(theirs)
        self.streams.restore(checkpoint["streams"])
        torch.set_rng_state(checkpoint["chance"].cpu())
        if checkpoint["chance_on_device"] is not None:
            torch.cuda.set_rng_state(checkpoint["chance_on_device"].cpu(), self.total_loss.device)
        self.total_loss.copy_(checkpoint["total_loss"])
        self.epoch, self.batch, self.history = (checkpoint[key] for key in ("epoch", "batch", "history"))
        self.best = checkpoint["best"] and Best(**checkpoint["best"])
        self.snapshots = checkpoint.get("snapshots", {})  # none in a checkpoint of an older version
        self.clock.run, self.clock.steps, self.clock.epoch = checkpoint["clock"]
