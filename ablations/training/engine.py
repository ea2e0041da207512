"""The training of one run, from a seed to metrics. Reads top to bottom."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ablations.config import Recipe
from ablations.errors import UserError
from ablations.models import build
from ablations.models.blocks import Block
from ablations.models.regularisation import set_active
from ablations.plan import Run
from ablations.training.augmentation import Draws, augment
from ablations.training.checkpoint import Checkpoints
from ablations.training.evaluation import (
    Splits,
    autocast,
    average_statistics,
    evaluate,
    gradient_norm,
    sparsity,
)
from ablations.training.feed import Feed
from ablations.training.lane import side_by_side
from ablations.training.memory import peak_mb
from ablations.training.optimiser import Optimiser
from ablations.training.replay import Replayed
from ablations.training.schedule import learning_rate
from ablations.training.snapshots import Snapshots
from ablations.training.state import Best, State
from ablations.training.streams import Streams, stream_seed


@dataclass(frozen=True)
class Trained:
    """What a run leaves: metrics (errors in percent, losses in nats), a history row an epoch, the last weights, how
    its steps were executed, and the SHA-256 of its snapshots by epoch."""

    metrics: dict[str, Any]
    history: list[dict[str, float]]
    weights: dict[str, Tensor]
    execution: str
    snapshots: dict[int, str]


@contextlib.contextmanager
def denormals_as_zero() -> Iterator[None]:
    """A processor computes a hundred times slower with numbers below 1e-38, all there is in a network whose signal
    vanishes."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def train(
    run: Run,
    splits: Splits,
    report: Callable[[dict[str, float]], None] = lambda row: None,
    checkpoints: Checkpoints | None = None,
    snapshots: Snapshots | None = None,
) -> Trained:
    """Train a run by itself; see `course`."""
    with denormals_as_zero():
        (trained,) = side_by_side([course(run, splits, report, checkpoints, snapshots)], splits.device)
    return trained


def course(
    run: Run,
    splits: Splits,
    report: Callable[[dict[str, float]], None],
    checkpoints: Checkpoints | None = None,
    snapshots: Snapshots | None = None,
) -> Generator[None, None, Trained]:
    """Train a run, from its checkpoint where there is one, and read the test split once, after the last epoch, with
    the last weights (with a `patience`, those of the lowest validation error). Pauses after each step, so that
    others can train beside it.

    `report` is called with each row of the history as it is made; `snapshots` keeps the weights on the way. A loss or
    gradient that is not finite ends the run: its status is `diverged`, its losses and errors are those of guessing,
    whatever came before. Raises UserError where the batch does not fit, Interrupted where a signal has ended the
    training; its checkpoint is written then."""
    recipe, data, device = run.arm.recipe, splits.data, splits.device
    if recipe.batch_size > len(data.train):
        raise UserError(f"batch_size {recipe.batch_size} is more than the {len(data.train)} training images")
    # Not use_deterministic_algorithms, which imports the compiler: 4 s.
    torch.set_deterministic_debug_mode("error" if recipe.deterministic else "default")
    torch.backends.cudnn.benchmark = not recipe.deterministic
    if recipe.compile:
        import torch._inductor.config as inductor

        inductor.deterministic = recipe.deterministic

    state = begin(run, splits)
    net, optimiser, streams, clock = state.net, state.optimiser, state.streams, state.clock
    train_split = splits.train
    if recipe.random_labels:
        train_split = train_split.relabelled(recipe.random_labels, len(data.classes), streams("labels"))
    # As many training as validation images for the history; the final metrics take all of them.
    watched_split = train_split.first(len(splits.validation))
    if device.type == "cuda" and recipe.deterministic:
        check_determinism(net)
    feed = Feed(train_split, recipe.batch_size)
    forward = torch.compile(net) if recipe.compile else net
    if checkpoints and (checkpoint := checkpoints.load(device)):
        if snapshots is None or snapshots.go_with(checkpoint):
            state.restore(checkpoint)
        else:
            print(
                f"{checkpoints.folder}: trained from the start, its snapshots are not all there", flush=True
            )

    def take_step() -> None:
        batch = feed.next()
        images, targets = augment(batch.raw, batch.labels, batch.draws, recipe, *train_split.scale)
        with autocast(recipe, device):
            loss = targets.loss(forward(images).float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step(batch.rate)
        state.total_loss += loss.detach()

    def watch() -> list[Tensor]:
        return [evaluate(net, split, recipe) for split in (watched_split, splits.validation)]

    step = Replayed(take_step, device, obstacle(net))
    watched = Replayed(watch, device, None if splits.resident else "the images are not on the device")

    while state.epoch <= recipe.epochs and not over(state, recipe):
        done = state.epoch - 1
        if snapshots and done.bit_count() == 1 and done not in state.snapshots:
            state.snapshots[done] = snapshots.keep(done, on_host(net))
        streams.mark()
        order = torch.randperm(len(data.train), generator=streams("order"))
        draws = Draws.of(len(data.train), recipe, data.shape, streams)
        before = (state.epoch - 1) * feed.steps
        rates = [learning_rate(recipe, before + batch, feed.steps) for batch in range(feed.steps)]
        feed.begin(order, draws, rates, state.batch)
        net.train()
        passed = (state.epoch - 1) / recipe.epochs
        if set_active(net, recipe.regularise_from <= passed < recipe.regularise_until):
            step.forget()
        clock.start_steps()
        for batch in range(state.batch, feed.steps):
            if checkpoints and checkpoints.due():
                state.batch = batch
                clock.stop_steps()
                checkpoints.save(state.checkpoint())
                clock.start_steps()
            feed.present(batch)
            step()
            feed.fetch(batch + 1)
            yield
        # No step waits for the device, only the epoch's end.
        running_loss = state.total_loss.item() / feed.steps
        clock.stop_steps()

        scores = watched()
        yield
        (train_loss, train_error), (validation_loss, validation_error) = (score.tolist() for score in scores)
        row = {
            "epoch": state.epoch,
            "step": state.epoch * feed.steps,
            "learning_rate": rates[-1],
            "running_loss": running_loss,  # mean over the epoch's batches, augmented, weights still moving
            "train_loss": train_loss,
            "train_error": train_error,
            "validation_loss": validation_loss,
            "validation_error": validation_error,
            "gradient_norm": gradient_norm(net),  # of the epoch's last batch
            "images_per_second": feed.steps * recipe.batch_size / clock.epoch,
            "seconds": clock.tick(),
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
        average_statistics(net, train_split, recipe)
    diverged = not finite(history[-1])
    measured: dict[str, float] = {}
    for name, split in (("train", train_split), ("validation", splits.validation), ("test", None)):
        # The test images are touched here and nowhere else, and not at all where there is nothing to measure.
        loss = error = math.nan
        if not diverged:
            loss, error = evaluate(net, split or splits.test, recipe).tolist()
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
        "images_per_second": len(history) * feed.steps * recipe.batch_size / clock.steps,
        **measured,
        "sparsity": sparsity(net),
        "peak_memory_mb": peak_mb(device),
        "seconds": clock.tick(),
    }
    return Trained(metrics, history, on_host(net), step.how, state.snapshots if snapshots else {})


LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


def begin(run: Run, splits: Splits) -> State:
    """A run before its first step: everything from its seed."""
    data, device, recipe = splits.data, splits.device, run.arm.recipe
    torch.manual_seed(stream_seed(run.seed, "initialisation"))
    net = build(run.arm.model, data.shape, len(data.classes))
    net = net.to(device, memory_format=LAYOUTS[recipe.memory_format])
    torch.manual_seed(stream_seed(run.seed, "dropout"))
    optimiser = Optimiser(net.parameters(), recipe)
    return State(net, optimiser, Streams(run.seed), total_loss=torch.zeros((), device=device))


def check_determinism(net: nn.Module) -> None:
    """UserError for what has no deterministic gradient on CUDA, though on a processor it has."""
    if any(isinstance(module, nn.AdaptiveAvgPool2d) for module in net.modules()):
        raise UserError(
            "on a GPU the gradient of an average over windows of several sizes (AlexNet, VGG with hidden layers, on "
            "images whose last map is larger than 6x6 or 7x7) is not deterministic; give the recipe deterministic: false"
        )


def obstacle(net: nn.Module) -> str | None:
    """Why a step of this network cannot be captured; None where nothing is known to be in the way."""
    if any(isinstance(module, Block) and module.skips_batches for module in net.modules()):
        return "stochastic depth draws on the processor which blocks a batch skips, and saves their time"
    return None


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


def on_host(net: nn.Module) -> dict[str, Tensor]:
    """The same in the host's memory, as files hold them."""
    return {name: value.cpu().contiguous() for name, value in copy_of(net).items()}
