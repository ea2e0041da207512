"""The training of one run, from a seed to metrics. Reads top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablations.config import Recipe
from ablations.data import Images, Prepared
from ablations.errors import UserError
from ablations.models import build
from ablations.models.regularisation import set_active
from ablations.plan import Run
from ablations.training.augmentation import augment, draw
from ablations.training.optimiser import SGD
from ablations.training.schedule import learning_rate
from ablations.training.streams import stream, stream_seed

EVALUATION_BATCH = 1000  # images; does not change results beyond rounding
HISTORY_IMAGES = 5000  # training images that the history evaluates each epoch; the final metrics take all


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

    torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms imports the compiler: 4 s
    torch.manual_seed(stream_seed(seed, "initialisation"))
    net = build(run.arm.model, data.shape, len(data.classes)).to(device, memory_format=torch.channels_last)
    torch.manual_seed(stream_seed(seed, "dropout"))
    order_stream, augmentation_stream = stream(seed, "order"), stream(seed, "augmentation")
    optimiser = SGD(net.parameters(), recipe)
    train_split, validation_split = (
        Split.of(images, data, device) for images in (data.train, data.validation)
    )

    history: list[dict[str, float]] = []
    trained_images, training_seconds = 0, 0.0
    for epoch in range(1, recipe.epochs + 1):
        epoch_started = time.perf_counter()
        order = torch.randperm(len(data.train), generator=order_stream).to(device)
        draws = draw(len(data.train), recipe, augmentation_stream, device)
        total_loss = torch.zeros((), device=device)
        net.train()
        set_active(net, recipe.regularise_from <= (epoch - 1) / recipe.epochs < recipe.regularise_until)
        for batch in range(steps):
            rate = learning_rate(recipe, (epoch - 1) * steps + batch, steps)
            chosen = slice(batch * recipe.batch_size, (batch + 1) * recipe.batch_size)
            images = augment(train_split.images(order[chosen]), draws[chosen], recipe)
            with autocast(recipe, device):
                loss = F.cross_entropy(net(images).float(), train_split.labels[order[chosen]])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step(rate)
            total_loss += loss.detach()
        running_loss = total_loss.item() / steps  # no step waits for the device, only the epoch's end
        epoch_seconds = time.perf_counter() - epoch_started
        trained_images += steps * recipe.batch_size
        training_seconds += epoch_seconds

        train_loss, train_error = evaluate(net, train_split.first(HISTORY_IMAGES), recipe, device)
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
        "images_per_second": trained_images / training_seconds,
        **measured,
    }
    metrics["seconds"] = time.perf_counter() - started
    weights = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    return Trained(metrics, history, weights)


@dataclass(frozen=True)
class Split:
    """A part of the data on the device: uint8 images [n, c, h, w], labels int64 [n], normalised when read."""

    raw: Tensor
    labels: Tensor
    mean: Tensor  # float32 [1, c, 1, 1], scale 0 to 255
    std: Tensor

    @classmethod
    def of(cls, images: Images, data: Prepared, device: torch.device) -> Split:
        """Move a part of the data to the device."""
        scale = (
            torch.tensor(values, device=device).mul(255).view(1, -1, 1, 1) for values in (data.mean, data.std)
        )
        return cls(
            torch.from_numpy(images.images).to(device), torch.from_numpy(images.labels).to(device), *scale
        )

    def images(self, index: Tensor | slice) -> Tensor:
        """Normalised float32 images [len(index), c, h, w]."""
        return (self.raw[index].float() - self.mean) / self.std

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


def autocast(recipe: Recipe, device: torch.device) -> torch.autocast:
    """Mixed precision as the recipe asks for it."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=recipe.precision == "bf16")


def gradient_norm(net: nn.Module) -> float:
    """Euclidean norm of the whole gradient."""
    return torch.nn.utils.get_total_norm([p.grad for p in net.parameters() if p.grad is not None]).item()
