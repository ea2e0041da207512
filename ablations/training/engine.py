"""The training of one run, from a seed to metrics. Reads top to bottom."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ablations.config import Recipe
from ablations.data import Prepared
from ablations.errors import UserError
from ablations.models import build
from ablations.models.regularisation import set_active
from ablations.plan import Run
from ablations.training.augmentation import Draws, augment
from ablations.training.checkpoint import Checkpoints
from ablations.training.evaluation import (
    Split,
    autocast,
    average_statistics,
    evaluate,
    gradient_norm,
    sparsity,
)
from ablations.training.optimiser import Optimiser
from ablations.training.schedule import learning_rate
from ablations.training.state import Best, State
from ablations.training.streams import Streams, stream_seed


@dataclass(frozen=True)
class Trained:
    """What a run leaves: metrics (errors in percent, losses in nats), a history row an epoch, the last weights."""

    metrics: dict[str, Any]
    history: list[dict[str, float]]
    weights: dict[str, Tensor]


@contextlib.contextmanager
def denormals_as_zero() -> Iterator[None]:
    """A processor computes a hundred times slower with numbers below 1e-38, all there is in a network whose signal
    vanishes."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@denormals_as_zero()
def train(
    run: Run,
    data: Prepared,
    device: torch.device,
    report: Callable[[dict[str, float]], None],
    checkpoints: Checkpoints | None = None,
) -> Trained:
    """Train a run, from its checkpoint where there is one, and read the test split once, after the last epoch, with
    the last weights (with a `patience`, those of the lowest validation error).

    `report` is called with each row of the history as it is made. A loss or gradient that is not finite ends the
    run: its status is `diverged`, its losses and errors are those of guessing, whatever came before. Raises
    UserError where the batch does not fit, Interrupted where a signal has ended the training; its checkpoint is
    written then."""
    recipe = run.arm.recipe
    steps = len(data.train) // recipe.batch_size  # full batches only; the next epoch mixes anew
    if steps == 0:
        raise UserError(f"batch_size {recipe.batch_size} is more than the {len(data.train)} training images")

    torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms imports the compiler: 4 s
    state = begin(run, data, device)
    net, optimiser, streams, clock = state.net, state.optimiser, state.streams, state.clock
    train_split, validation_split = (
        Split.of(images, data, device) for images in (data.train, data.validation)
    )
    if recipe.random_labels:
        train_split = train_split.relabelled(recipe.random_labels, len(data.classes), streams("labels"))
    # As many training as validation images for the history; the final metrics take all of them.
    watched_split = train_split.first(len(data.validation))
    if checkpoints and (snapshot := checkpoints.load(device)):
        state.restore(snapshot)

    while state.epoch <= recipe.epochs and not over(state, recipe):
        streams.mark()
        order = torch.randperm(len(data.train), generator=streams("order")).to(device)
        draws = Draws.of(len(data.train), recipe, data.shape, streams, device)
        clock.start_steps()
        net.train()
        set_active(net, recipe.regularise_from <= (state.epoch - 1) / recipe.epochs < recipe.regularise_until)
        for batch in range(state.batch, steps):
            if checkpoints and checkpoints.due():
                state.batch = batch
                clock.stop_steps()
                checkpoints.save(state.snapshot())
                clock.start_steps()
            rate = learning_rate(recipe, (state.epoch - 1) * steps + batch, steps)
            chosen = slice(batch * recipe.batch_size, (batch + 1) * recipe.batch_size)
            images, targets = augment(*train_split[order[chosen]], draws[chosen], recipe, *train_split.scale)
            with autocast(recipe, device):
                loss = targets.loss(net(images).float())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step(rate)
            state.total_loss += loss.detach()
        running_loss = state.total_loss.item() / steps  # no step waits for the device, only the epoch's end
        clock.stop_steps()

        train_loss, train_error = evaluate(net, watched_split, recipe, device)
        validation_loss, validation_error = evaluate(net, validation_split, recipe, device)
        row = {
            "epoch": state.epoch,
            "step": state.epoch * steps,
            "learning_rate": rate,
            "running_loss": running_loss,  # mean over the epoch's batches, augmented, weights still moving
            "train_loss": train_loss,
            "train_error": train_error,
            "validation_loss": validation_loss,
            "validation_error": validation_error,
            "gradient_norm": gradient_norm(net),  # of the epoch's last batch
            "images_per_second": steps * recipe.batch_size / clock.epoch,
            "seconds": clock.run,
        }
        state.history.append(row)
        report(row)
        if recipe.patience and (state.best is None or validation_error < state.best.error):
            state.best = Best(state.epoch, validation_error, copy_of(net))
        state.begin_epoch(state.epoch + 1)

    history, best = state.history, state.best
    if best is not None:
        net.load_state_dict(best.weights)
    if recipe.norm_statistics == "pass":
        average_statistics(net, train_split, recipe, device)
    diverged = not finite(history[-1])
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
        "images_per_second": len(history) * steps * recipe.batch_size / clock.steps,
        **measured,
        "sparsity": sparsity(net),
        "seconds": clock.tick(),
    }
    return Trained(metrics, history, {name: value.cpu().contiguous() for name, value in copy_of(net).items()})


def begin(run: Run, data: Prepared, device: torch.device) -> State:
    """A run before its first step: everything from its seed."""
    torch.manual_seed(stream_seed(run.seed, "initialisation"))
    net = build(run.arm.model, data.shape, len(data.classes)).to(device, memory_format=torch.channels_last)
    torch.manual_seed(stream_seed(run.seed, "dropout"))
    optimiser = Optimiser(net.parameters(), run.arm.recipe)
    return State(net, optimiser, Streams(run.seed), total_loss=torch.zeros((), device=device))


def over(state: State, recipe: Recipe) -> bool:
    """Whether a run ends before its last epoch: diverged, or out of patience."""
    if not state.history:
        return False
    impatient = recipe.patience and state.epoch - 1 - state.best.epoch >= recipe.patience
    return bool(impatient) or not finite(state.history[-1])


def finite(row: dict[str, float]) -> bool:
    """Whether every number of a history row is one."""
    return all(math.isfinite(value) for value in row.values())


def copy_of(net: nn.Module) -> dict[str, Tensor]:
    """Weights and running averages as they are now."""
    return {name: value.detach().clone() for name, value in net.state_dict().items()}
