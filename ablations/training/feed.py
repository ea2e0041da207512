"""What a step reads, at fixed places on the device: the next images, what chance has decided for them, the learning
rate. It is filled once an epoch; from step to step a position moves on, on the device itself, so that nothing is
handed over between steps and a step can be captured."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ablations.training.augmentation import Draws
from ablations.training.evaluation import Split


class Batch(NamedTuple):
    """Raw images uint8 [b, c, h, w] with their labels int64 [b] and draws, and the learning rate [] of the step."""

    raw: Tensor
    labels: Tensor
    draws: Draws
    rate: Tensor


class Feed:
    """The batches of an epoch of a split, in full batches only: what is left over waits for the next epoch."""

    def __init__(self, split: Split, batch_size: int):
        self.split, self.batch_size = split, batch_size
        self.steps = len(split) // batch_size
        self.position = torch.zeros(1, dtype=torch.int64, device=split.device)
        self.columns: dict[str, Tensor] = {}  # [steps, ...]
        self.window = None if split.resident else Window(split, batch_size)

    def begin(self, order: Tensor, draws: Draws, rates: list[float], batch: int = 0) -> None:
        """Fill it for an epoch from a batch on: the order of all images int64 [n], their draws, the learning rate
        of each step."""
        self.order = order[: self.steps * self.batch_size].view(self.steps, self.batch_size)
        columns = {"rate": torch.tensor(rates), "order": self.order}
        for name, values in draws.present.items():
            of_batches = values[: self.steps * self.batch_size]
            columns[name] = of_batches.view(self.steps, self.batch_size, *values.shape[1:])
        for name, values in columns.items():
            if name not in self.columns:
                self.columns[name] = torch.empty_like(values, device=self.split.device)
            self.columns[name].copy_(values)
        self.position.fill_(batch)
        self.fetch(batch)

    def fetch(self, batch: int) -> None:
        """Start to bring images that are not on the device nearer; called a step ahead, the device computes
        meanwhile."""
        if self.window is not None and batch < self.steps:
            self.window.fetch(batch, self.order[batch])

    def present(self, batch: int) -> None:
        """See to it that the images of a batch are there for the next step."""
        if self.window is not None:
            self.window.present(batch)

    def next(self) -> Batch:
        """The batch at the position, which moves on."""
        row = {
            name: column.index_select(0, self.position).squeeze(0) for name, column in self.columns.items()
        }
        self.position += 1
        chosen, rate = row.pop("order"), row.pop("rate")
        raw = self.split.raw.index_select(0, chosen) if self.window is None else self.window.images
        return Batch(raw, self.split.labels.index_select(0, chosen), Draws(**row), rate)


class Window:
    """The batch at hand of images that stay in the host's memory, or in a file that is mapped to it. The next one
    is gathered into pinned memory and copied to the device beside the step under way, in two places by turns."""

    def __init__(self, split: Split, batch_size: int):
        shape = (batch_size, *split.raw.shape[1:])
        self.raw, self.api = split.raw, torch.get_device_module(split.device)
        on_gpu = split.device.type == "cuda"
        self.pinned = [torch.empty(shape, dtype=torch.uint8, pin_memory=on_gpu) for _ in range(2)]
        self.staged = [torch.empty(shape, dtype=torch.uint8, device=split.device) for _ in range(2)]
        self.images = torch.empty(shape, dtype=torch.uint8, device=split.device)  # what a step reads
        self.stream = self.api.Stream()
        self.copied, self.read = ([self.api.Event() for _ in range(2)] for _ in range(2))

    def fetch(self, batch: int, chosen: Tensor) -> None:
        """Gather the images chosen for a batch, int64 [b], and start their copy to the device."""
        turn = batch % 2
        self.copied[turn].synchronize()  # the copy from here two batches ago
        torch.index_select(self.raw, 0, chosen, out=self.pinned[turn])
        self.stream.wait_event(self.read[turn])
        with self.api.stream(self.stream):
            self.staged[turn].copy_(self.pinned[turn], non_blocking=True)
        self.copied[turn].record(self.stream)

    def present(self, batch: int) -> None:
        """Put the images of a batch where the next step reads them."""
        turn = batch % 2
        stream = self.api.current_stream()
        stream.wait_event(self.copied[turn])
        self.images.copy_(self.staged[turn])
        self.read[turn].record(stream)
