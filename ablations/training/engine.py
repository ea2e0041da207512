"""The training of one run, from a seed to metrics. Reads top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablations.config import Recipe
from ablations.data import Images, Prepared
from ablations.errors import UserError
from ablations.models import build, effective_weights
from ablations.models.regularisation import set_active
from ablations.plan import Run
from ablations.training.augmentation import Draws, augment
from ablations.training.optimiser import Optimiser
from ablations.training.schedule import learning_rate
from ablations.training.streams import stream, stream_seed

EVALUATION_BATCH = 1000  # images; does not change results beyond rounding


@dataclass(frozen=True)
class Trained:
    """What a run leaves: metrics (errors in percent, losses in nats), a history row an epoch, the last weights."""

    metrics: dict[str, Any]
    history: list[dict[str, float]]
    weights: dict[str, Tensor]


def train(
    run: Run, data: Prepared, device: torch.device, report: Callable[[dict[str, float]], None]
) -> Trained:
    """Train a run and read the test split once, after the last epoch, with the last weights.

    `report` is called with each row of the history as it is made. A loss or gradient that is not finite ends the
    run: its status is `diverged`, its losses and errors are those of guessing. Raises UserError where the batch does not fit."""
    started = time.perf_counter()
    recipe, seed = run.arm.recipe, run.seed
    steps = len(data.train) // recipe.batch_size  # full batches only; the next epoch mixes anew
    if steps == 0:
        raise UserError(f"batch_size {recipe.batch_size} is more than the {len(data.train)} training images")

    torch.set_flush_denormal(True)  # a processor computes with them a hundred times slower
    torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms imports the compiler: 4 s
    torch.manual_seed(stream_seed(seed, "initialisation"))
    net = build(run.arm.model, data.shape, len(data.classes)).to(device, memory_format=torch.channels_last)
    torch.manual_seed(stream_seed(seed, "dropout"))
    streams = cache(partial(stream, seed))  # by name; each goes on from epoch to epoch
    optimiser = Optimiser(net.parameters(), recipe)
    train_split, validation_split = (
        Split.of(images, data, device) for images in (data.train, data.validation)
    )
    if recipe.random_labels:
        train_split = train_split.relabelled(recipe.random_labels, len(data.classes), streams("labels"))
    # As many training as validation images for the history; the final metrics take all of them.
    watched_split = train_split.first(len(data.validation))

    history: list[dict[str, float]] = []
    trained_images, training_seconds = 0, 0.0
    best: Best | None = None
    for epoch in range(1, recipe.epochs + 1):
        epoch_started = time.perf_counter()
        order = torch.randperm(len(data.train), generator=streams("order")).to(device)
        draws = Draws.of(len(data.train), recipe, data.shape, streams, device)
        total_loss = torch.zeros((), device=device)
        net.train()
        set_active(net, recipe.regularise_from <= (epoch - 1) / recipe.epochs < recipe.regularise_until)
        for batch in range(steps):
            rate = learning_rate(recipe, (epoch - 1) * steps + batch, steps)
            chosen = slice(batch * recipe.batch_size, (batch + 1) * recipe.batch_size)
            images, targets = augment(*train_split[order[chosen]], draws[chosen], recipe, *train_split.scale)
            with autocast(recipe, device):
                loss = targets.loss(net(images).float())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step(rate)
            total_loss += loss.detach()
        running_loss = total_loss.item() / steps  # no step waits for the device, only the epoch's end
        epoch_seconds = time.perf_counter() - epoch_started
        trained_images += steps * recipe.batch_size
        training_seconds += epoch_seconds

        train_loss, train_error = evaluate(net, watched_split, recipe, device)
        validation_loss, validation_error = evaluate(net, validation_split, recipe, device)
        row = {
            "epoch": epoch,
            "step": epoch * steps,
            "learning_rate": rate,
            "running_loss": running_loss,  # mean over the epoch's batches, augmented, weights still moving
            "train_loss": train_loss,
            "train_error": train_error,
            "validation_loss": validation_loss,
            "validation_error": validation_error,
            "gradient_norm": gradient_norm(net),  # of the epoch's last batch
            "images_per_second": steps * recipe.batch_size / epoch_seconds,
            "seconds": time.perf_counter() - started,
        }
        history.append(row)
        report(row)
        if not all(math.isfinite(value) for value in row.values()):
            break
        if recipe.patience is not None:
            if best is None or validation_error < best.error:
                best = Best(epoch, validation_error, copy_of(net))
            elif epoch - best.epoch >= recipe.patience:
                break

    if best is not None:
        net.load_state_dict(best.weights)
    if recipe.norm_statistics == "pass":
        average_statistics(net, train_split, recipe, device)
    diverged = not all(math.isfinite(value) for value in history[-1].values())
    measured: dict[str, float] = {}
    for name, split in (("train", train_split), ("validation", validation_split), ("test", None)):
        # The test images are touched here and nowhere else, and not at all where there is nothing to measure.
        loss = error = math.nan
        if not diverged:
            loss, error = evaluate(net, split or Split.of(data.test, data, device), recipe, device)
            diverged = not math.isfinite(loss)
        measured |= {f"{name}_loss": loss, f"{name}_error": error}
    if diverged:
        classes = len(data.classes)
        guessing = {"loss": math.log(classes), "error": 100 * (1 - 1 / classes)}
        measured = {name: guessing[name.rpartition("_")[2]] for name in measured}
    metrics: dict[str, Any] = {
        "status": "diverged" if diverged else "finished",
        "epochs_trained": len(history),
        "measured_epoch": best.epoch if best else len(history),  # whose weights the metrics are of
        "images_per_second": trained_images / training_seconds,
        **measured,
        "sparsity": sparsity(net),
    }
    metrics["seconds"] = time.perf_counter() - started
    return Trained(metrics, history, {name: value.cpu().contiguous() for name, value in copy_of(net).items()})


@dataclass(frozen=True)
class Best:
    """What early stopping returns to: the first epoch with the lowest validation error (Goodfellow et al. 2016,
    Deep Learning, algorithm 7.1)."""

    epoch: int
    error: float
    weights: dict[str, Tensor]


@dataclass(frozen=True)
class Split:
    """A part of the data on the device: uint8 images [n, c, h, w], labels int64 [n], normalised when read."""

    raw: Tensor
    labels: Tensor
    scale: tuple[Tensor, Tensor]  # mean and standard deviation, float32 [1, c, 1, 1], on the scale 0 to 255

    @classmethod
    def of(cls, images: Images, data: Prepared, device: torch.device) -> Split:
        """Move a part of the data to the device."""
        mean, std = (
            torch.tensor(values, device=device).mul(255).view(1, -1, 1, 1) for values in (data.mean, data.std)
        )
        arrays = (torch.from_numpy(array).to(device) for array in (images.images, images.labels))
        return cls(*arrays, (mean, std))

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Raw images and labels."""
        return self.raw[index], self.labels[index]

    def images(self, index: Tensor | slice) -> Tensor:
        """Normalised float32 images [len(index), c, h, w]."""
        mean, std = self.scale
        return (self.raw[index].float() - mean) / std

    def relabelled(self, part: float, classes: int, random: torch.Generator) -> Split:
        """With a label drawn evenly from all classes, perhaps the true one, for `part` of the images (Zhang et al.
        2017, arXiv:1611.03530, section 2.1)."""
        n = len(self.labels)
        chosen = torch.randperm(n, generator=random)[: round(part * n)]
        labels = self.labels.cpu().index_copy(
            0, chosen, torch.randint(classes, (len(chosen),), generator=random)
        )
        return replace(self, labels=labels.to(self.labels.device))

    def first(self, n: int) -> Split:
        """The first n images; their order was mixed when the data were prepared."""
        return replace(self, raw=self.raw[:n], labels=self.labels[:n])


@torch.inference_mode()
def evaluate(net: nn.Module, split: Split, recipe: Recipe, device: torch.device) -> tuple[float, float]:
    """Mean cross-entropy in nats and error in percent over a split, batch norm with its running averages."""
    net.eval()
    loss, wrong = torch.zeros((), device=device), torch.zeros((), device=device)
    for start in range(0, len(split.labels), EVALUATION_BATCH):
        chosen = slice(start, start + EVALUATION_BATCH)
        with autocast(recipe, device):
            logits = net(split.images(chosen)).float()
        loss += F.cross_entropy(logits, split.labels[chosen], reduction="sum")
        wrong += (logits.argmax(1) != split.labels[chosen]).sum()
    return loss.item() / len(split.labels), 100 * wrong.item() / len(split.labels)


@torch.no_grad()
def average_statistics(net: nn.Module, split: Split, recipe: Recipe, device: torch.device) -> None:
    """Batch norm's running averages replaced by the mean of the statistics of every training batch, in one pass
    with the weights as they are (Wu & Johnson 2021, arXiv:2105.07576, section 3: precise batch norm)."""
    norms = [module for module in net.eval().modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [module.momentum for module in norms]
    for module in norms:
        module.reset_running_stats()
        module.momentum = None  # torch's word for a plain average
        module.train()
    for batch in range(len(split.labels) // recipe.batch_size):
        with autocast(recipe, device):
            net(split.images(slice(batch * recipe.batch_size, (batch + 1) * recipe.batch_size)))
    for module, momentum in zip(norms, momenta, strict=True):
        module.momentum = momentum


NEAR_ZERO = 1e-3


def sparsity(net: nn.Module) -> float:
    """Percent of the weights of convolutions and linear layers whose magnitude is below 0.001."""
    weights = torch.cat([weight.detach().flatten() for weight in effective_weights(net)])
    return 100 * (weights.abs() < NEAR_ZERO).float().mean().item()


def copy_of(net: nn.Module) -> dict[str, Tensor]:
    """Weights and running averages as they are now."""
    return {name: value.detach().clone() for name, value in net.state_dict().items()}


def autocast(recipe: Recipe, device: torch.device) -> torch.autocast:
    """Mixed precision as the recipe asks for it."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=recipe.precision == "bf16")


def gradient_norm(net: nn.Module) -> float:
    """Euclidean norm of the whole gradient."""
    return torch.nn.utils.get_total_norm([p.grad for p in net.parameters() if p.grad is not None]).item()
