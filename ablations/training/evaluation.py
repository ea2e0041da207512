"""What is measured of a network on a part of the data."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablations.config import Recipe
from ablations.data import Images, Prepared
from ablations.models import effective_weights

EVALUATION_BATCH = 1000  # images; does not change results beyond rounding


@dataclass(frozen=True)
class Split:
    """A part of the data: uint8 images [n, c, h, w], on the device where they fit, else in the host's memory or the
    file mapped to it; labels int64 [n] on the device; normalised when read."""

    raw: Tensor
    labels: Tensor
    scale: tuple[Tensor, Tensor]  # mean and standard deviation, float32 [1, c, 1, 1], on the scale 0 to 255
    resident: bool  # whether the images lie on the device

    @classmethod
    def of(cls, images: Images, data: Prepared, device: torch.device, resident: bool = True) -> Split:
        """A part of the data for a device, its images there or not."""
        std = [value or 1.0 for value in data.std]  # 0 in a channel that is the same everywhere
        mean, std = (
            torch.tensor(values, device=device).mul(255).view(1, -1, 1, 1) for values in (data.mean, std)
        )
        raw, labels = (torch.from_numpy(array) for array in (images.images, images.labels))
        return cls(raw.to(device) if resident else raw, labels.to(device), (mean, std), resident)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def device(self) -> torch.device:
        """Where they are computed with."""
        return self.labels.device

    def images(self, index: slice) -> Tensor:
        """Normalised float32 images [len(index), c, h, w]."""
        mean, std = self.scale
        return (self.raw[index].to(self.device).float() - mean) / std

    def relabelled(self, part: float, classes: int, random: torch.Generator) -> Split:
        """With a label drawn evenly from all classes, perhaps the true one, for `part` of the images (Zhang et al.
        2017, arXiv:1611.03530, section 2.1)."""
        chosen = torch.randperm(len(self), generator=random)[: round(part * len(self))]
        labels = self.labels.cpu().index_copy(
            0, chosen, torch.randint(classes, (len(chosen),), generator=random)
        )
        return replace(self, labels=labels.to(self.device))

    def first(self, n: int) -> Split:
        """The first n images; their order was mixed when the data were prepared."""
        return replace(self, raw=self.raw[:n], labels=self.labels[:n])


@dataclass(frozen=True)
class Splits:
    """The prepared data for a device, shared by all runs of a job; the test part is not read before it is asked for."""

    data: Prepared
    device: torch.device
    resident: bool  # whether the images lie on the device
    train: Split
    validation: Split

    @classmethod
    def of(cls, data: Prepared, device: torch.device, resident: bool | None = None) -> Splits:
        """Move them to the device if they take less than a part of its free memory, or as told."""
        if resident is None:
            resident = fits(data, device)
        train, validation = (Split.of(part, data, device, resident) for part in (data.train, data.validation))
        return cls(data, device, resident, train, validation)

    @property
    def test(self) -> Split:
        """Moved to the device anew each time."""
        return Split.of(self.data.test, self.data, self.device, self.resident)


def fits(data: Prepared, device: torch.device) -> bool:
    """Whether the images take less than a quarter of a GPU's free memory; on a processor they stay where they are."""
    if device.type != "cuda":
        return True
    size = sum(part.images.nbytes for part in (data.train, data.validation, data.test))
    return size < torch.cuda.mem_get_info(device)[0] / 4


@torch.no_grad()
def evaluate(net: nn.Module, split: Split, recipe: Recipe) -> Tensor:
    """Mean cross-entropy in nats and error in percent over a split, batch norm with its running averages: float64
    [2] on the device, which is not waited for."""
    net.eval()
    loss, wrong = (torch.zeros((), device=split.device) for _ in range(2))
    for start in range(0, len(split), EVALUATION_BATCH):
        chosen = slice(start, start + EVALUATION_BATCH)
        with autocast(recipe, split.device):
            logits = net(split.images(chosen)).float()
        loss += F.cross_entropy(logits, split.labels[chosen], reduction="sum")
        wrong += (logits.argmax(1) != split.labels[chosen]).sum()
    return torch.stack([loss.double() / len(split), 100 * wrong.double() / len(split)])


@torch.no_grad()
def average_statistics(net: nn.Module, split: Split, recipe: Recipe) -> None:
    """Batch norm's running averages replaced by the mean of the statistics of every training batch, in one pass
    with the weights as they are (after Wu & Johnson 2021, arXiv:2105.07576, section 3)."""
    norms = [module for module in net.eval().modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [module.momentum for module in norms]
    for module in norms:
        module.reset_running_stats()
        module.momentum = None  # torch's word for a plain average
        module.train()
    for batch in range(len(split) // recipe.batch_size):
        with autocast(recipe, split.device):
            net(split.images(slice(batch * recipe.batch_size, (batch + 1) * recipe.batch_size)))
    for module, momentum in zip(norms, momenta, strict=True):
        module.momentum = momentum


NEAR_ZERO = (
    0.01  # of a layer's root mean square: before a norm, the size of all weights together says nothing
)


def sparsity(net: nn.Module) -> float:
    """Percent of the weights of convolutions and linear layers below a hundredth of their layer's root mean
    square in magnitude."""
    weights = [weight.detach() for weight in effective_weights(net)]
    near = torch.cat([(w.abs() <= NEAR_ZERO * w.square().mean().sqrt()).flatten() for w in weights])
    return 100 * near.float().mean().item()


def autocast(recipe: Recipe, device: torch.device) -> torch.autocast:
    """Mixed precision as the recipe asks for it."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=recipe.precision == "bf16")


def gradient_norm(net: nn.Module) -> float:
    """Euclidean norm of the whole gradient."""
    return torch.nn.utils.get_total_norm([p.grad for p in net.parameters() if p.grad is not None]).item()
