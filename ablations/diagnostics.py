"""Mechanisms, measured on networks at initialisation and on the trained networks of the store: a probe each.

A probe maps a network, a fixed batch of images [n, c, h, w] with labels [n] and a generator to points (position,
value). It may change the network: each gets one of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablations import data, layout
from ablations.collect import write_table
from ablations.errors import UserError
from ablations.mechanisms import ANY, DELETED, INITIAL, SEVERAL, SWAPPED, TRAINED
from ablations.models.blocks import Block
from ablations.models.regularisation import set_active
from ablations.models.weights import weighted
from ablations.plan import Arm, Plan, PlannedStudy, Run
from ablations.store import Store
from ablations.training.engine import begin, denormals_as_zero
from ablations.training.evaluation import Splits
from ablations.training.streams import stream

BATCH = 256  # images: the first of the validation split
BATCH_OF_GRADIENTS = 64  # the first of these: 164 layers of 32x32 pixels keep 40 MB an image for the way back

Points = list[tuple[float, float]]
Probe = Callable[[nn.Sequential, Tensor, Tensor, torch.Generator], Points]


def diagnose(plan: Plan, name: str) -> None:
    """Write results/<suite>/<study>/diagnostics/<diagnostic>.csv for each diagnostic that a study names, as
    `ablations.mechanisms` describes it. Runs that are not finished are left out, and so are diagnostics of arms that
    the suite does not have. UserError where the study names none."""
    planned, store = plan.study(name), Store(layout.RESULTS)
    if not planned.study.diagnostics:
        raise UserError(f"study {name} names no diagnostics")
    columns = [*planned.factors, "seed", "status", "panel", "position", "value"]
    paths = {each: layout.diagnostic(plan.suite_name, name, each) for each in planned.study.diagnostics}
    splits: dict[str, Splits] = {}
    for diagnostic, path in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        try:
            arms = planned.select(planned.study.diagnostics[diagnostic].arms)
        except UserError as error:  # the report says it too
            print(f"{diagnostic}: not measured: {error}")
            continue
        with denormals_as_zero():
            rows = list(measured(planned, arms, diagnostic, store, splits))
        write_table(pd.DataFrame(rows, columns=columns), path)


def measured(
    planned: PlannedStudy,
    arms: Mapping[tuple[str, ...], Arm],
    diagnostic: str,
    store: Store,
    splits: dict[str, Splits],
) -> Iterator[dict[str, Any]]:
    """The rows of a diagnostic's table. `splits` keeps the data that were read, by their key."""
    for key, arm in arms.items():
        if arm.data_key not in splits:
            splits[arm.data_key] = Splits.of(data.read(layout.data(arm.data_key)), torch.device("cpu"))
        ready = splits[arm.data_key]
        batch = ready.validation.first(BATCH)
        images, labels = batch.images(slice(BATCH)), batch.labels
        for seed in planned.seeds:
            run = Run(arm, seed, ready.data.fingerprint)
            metrics = store.metrics(run)
            for panel, probe in PROBES[diagnostic].items():
                status = "initial" if panel in (ANY, INITIAL) else metrics and metrics["status"]
                if status is None:
                    continue
                row = {**planned.levels(key), "seed": seed, "status": status, "panel": panel}
                if status == "diverged":
                    yield row
                    continue
                net = begin(run, ready).net
                if panel not in (ANY, INITIAL):
                    net.load_state_dict(safetensors.torch.load(store.file(run.id, "weights.safetensors")))
                for position, value in probe(net, images, labels, stream(seed, "diagnostics")):
                    yield {**row, "position": position, "value": value}


def as_in_training(net: nn.Module) -> None:
    """Batch norm by the batch's own statistics (at initialisation there are no others), nothing dropped."""
    net.train()
    set_active(net, False)


# ------------------------------------------------------------------------------------------ probes


def gradient_by_layer(net: nn.Sequential, images: Tensor, labels: Tensor, random: torch.Generator) -> Points:
    """By layer, convolutions and linear layers in the order of the forward pass from 1: the Euclidean norm of the
    gradient of the mean cross-entropy with respect to the layer's output (after Glorot & Bengio 2010, section 4.2).
    From one layer to the one before, it changes by what the transposed Jacobian between them does to it."""
    as_in_training(net)
    outputs: list[Tensor] = []
    for layer in weighted(net):
        layer.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    loss = F.cross_entropy(net(images[:BATCH_OF_GRADIENTS]), labels[:BATCH_OF_GRADIENTS])
    gradients = torch.autograd.grad(loss, outputs)
    return [(number, gradient.norm().item()) for number, gradient in enumerate(gradients, start=1)]


def blocks(net: nn.Sequential) -> dict[int, Block]:
    """The blocks of a plain or residual network by their place in it. UserError where there are none."""
    found = {place: layer for place, layer in enumerate(net) if isinstance(layer, Block)}
    if not found:
        raise UserError(
            "this diagnostic takes networks of family resnet: the others have no blocks to look at"
        )
    return found


@torch.no_grad()
def response_magnitude(net: nn.Sequential, images: Tensor, labels: Tensor, random: torch.Generator) -> Points:
    """By block from 1: the standard deviation, over images, channels and pixels, of its transform's output before
    the addition, in a plain network before the ReLU (He et al. 2015, section 4.2 and Fig. 7, there of each layer)."""
    as_in_training(net)
    deviations: list[float] = []
    for block in blocks(net).values():
        block.transform.register_forward_hook(
            lambda module, x, output: deviations.append(output.std().item())
        )
    net(images)
    return list(enumerate(deviations, start=1))


@torch.no_grad()
def branch_variance(net: nn.Sequential, images: Tensor, labels: Tensor, random: torch.Generator) -> Points:
    """By block with a shortcut from 1: the variance of what the transform adds, over that of what it is added to,
    both over images and pixels, mean over channels (after De & Smith 2020, arXiv:2002.10444). 0: the block is its
    shortcut."""
    as_in_training(net)
    ratios: list[float] = []

    def measure(shortcut: nn.Module, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        x, transformed = inputs
        path = shortcut.forward(x, None)  # by itself, without this hook
        branch, kept = (each.var(dim=(0, 2, 3)).mean() for each in (transformed, path))
        ratios.append((branch / kept).item())

    for block in blocks(net).values():
        if block.shortcut is not None:
            block.shortcut.register_forward_hook(measure)
    net(images)
    return list(enumerate(ratios, start=1))


# ------------------------------------------------------------------------------------------ lesions


class Deleted(nn.Module):
    """What is left of a block without its transform: the shortcut, in a plain network the input as it is."""

    def __init__(self, block: Block):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        block = self.block
        if block.shortcut is None:
            return x
        if block.pre is not None:
            x = block.pre(x)
        return block.activation(block.shortcut(x, None))


@torch.no_grad()
def error(layers: list[nn.Module], images: Tensor, labels: Tensor) -> float:
    """Error in percent of a network of these layers, batch norm with its running averages."""
    wrong = nn.Sequential(*layers).eval()(images).argmax(1) != labels
    return 100 * wrong.float().mean().item()


@torch.no_grad()
def shapes(net: nn.Sequential, images: Tensor) -> list[torch.Size]:
    """The shape of the input of each layer for one image, and of the last one's output."""
    found = [images[:1].shape]
    x = images[:1]
    for layer in net.eval():
        x = layer(x)
        found.append(x.shape)
    return found


def deletable(net: nn.Sequential, images: Tensor) -> list[int]:
    """Places of the blocks that can be deleted: all with a shortcut; in a plain network those that keep the shape,
    for nothing else would turn their input into what the next block takes."""
    shape = shapes(net, images)
    return [
        place
        for place, block in blocks(net).items()
        if block.shortcut is not None or shape[place] == shape[place + 1]
    ]


def delete_one(net: nn.Sequential, images: Tensor, labels: Tensor, random: torch.Generator) -> Points:
    """By block from 1: the error in percent without it; at 0 with all (Veit et al. 2016, section 4.1)."""
    layers, first = list(net), min(blocks(net))
    points = [(0, error(layers, images, labels))]
    for place in deletable(net, images):
        lesioned = [*layers[:place], Deleted(net[place]), *layers[place + 1 :]]
        points.append((place - first + 1, error(lesioned, images, labels)))
    return points


def delete_several(net: nn.Sequential, images: Tensor, labels: Tensor, random: torch.Generator) -> Points:
    """By the number of blocks deleted, one after another in a random order: the error in percent (Veit et al. 2016,
    section 4.2)."""
    layers, places = list(net), deletable(net, images)
    points = [(0, error(layers, images, labels))]
    for count, chosen in enumerate(torch.randperm(len(places), generator=random).tolist(), start=1):
        layers[places[chosen]] = Deleted(net[places[chosen]])
        points.append((count, error(layers, images, labels)))
    return points


def swap_neighbours(net: nn.Sequential, images: Tensor, labels: Tensor, random: torch.Generator) -> Points:
    """By block from 1: the error in percent when it and the next have changed places, where both keep the same
    shape; at 0 with all in their order (after Veit et al. 2016, section 4.3)."""
    layers, shape, of_net = list(net), shapes(net, images), blocks(net)
    points = [(0, error(layers, images, labels))]
    for place in of_net:
        if place + 1 in of_net and shape[place] == shape[place + 1] == shape[place + 2]:
            swapped = [*layers[:place], layers[place + 1], layers[place], *layers[place + 2 :]]
            points.append((place - min(of_net) + 1, error(swapped, images, labels)))
    return points


def path_lengths(net: nn.Sequential, images: Tensor, labels: Tensor, random: torch.Generator) -> Points:
    """By length, the number of transforms on the way: percent of all paths through a network. A block with a shortcut
    doubles them, for n blocks to the binomial distribution of n and 1/2 (Veit et al. 2016, sections 3 and 5); one
    without lengthens all."""
    share = np.ones(1)
    for block in blocks(net).values():
        share = np.convolve(share, [0, 1] if block.shortcut is None else [0.5, 0.5])
    return [(length, 100 * part) for length, part in enumerate(share.tolist())]


# ------------------------------------------------------------------------------------------ the landscape

PAIRS = 4  # of images, the first with the fifth and so on
STEPS = 32  # from one image of a pair to the other


def gradient_correlation(
    net: nn.Sequential, images: Tensor, labels: Tensor, random: torch.Generator
) -> Points:
    """By distance between two inputs, on the straight line from one image to another and in parts of it, up to half of
    it: the mean cosine of the angle between their gradients, each of the first logit with respect to the input (after
    Balduzzi et al. 2017, arXiv:1702.08591, section 2: there the autocorrelation over a one-dimensional input). 1:
    the network is linear there; 0: gradients are white noise."""
    as_in_training(net)
    along = torch.linspace(0, 1, STEPS + 1).view(-1, 1, 1, 1, 1)
    line = (1 - along) * images[:PAIRS] + along * images[PAIRS : 2 * PAIRS]  # [steps + 1, pairs, c, h, w]
    inputs = line.flatten(0, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(net(inputs)[:, 0].sum(), inputs)
    direction = F.normalize(gradient.flatten(1).unflatten(0, (STEPS + 1, -1)), dim=2)
    return [
        (lag / STEPS, (direction[: STEPS + 1 - lag] * direction[lag:]).sum(2).mean().item())
        for lag in range(STEPS // 2 + 1)
    ]


def filter_normalised(weight: Tensor, random: torch.Generator) -> Tensor:
    """A Gaussian direction for a parameter in which each filter has the norm of the weight's; zero for scales, shifts
    and biases (Li et al. 2018, arXiv:1712.09913, section 4)."""
    if weight.dim() < 2:
        return torch.zeros_like(weight)
    direction = torch.randn(weight.shape, generator=random)
    norms = (each.flatten(1).norm(dim=1).view(-1, *[1] * (weight.dim() - 1)) for each in (weight, direction))
    return direction * torch.div(*norms)


@torch.no_grad()
def loss_curve(net: nn.Sequential, images: Tensor, labels: Tensor, random: torch.Generator) -> Points:
    """By the distance from the trained weights along a filter-normalised random direction, -1 to 1: the mean
    cross-entropy in nats, batch norm with its running averages (Li et al. 2018, section 4)."""
    net.eval()
    directions = [filter_normalised(parameter, random) for parameter in net.parameters()]
    weights = [parameter.clone() for parameter in net.parameters()]
    points = []
    for distance in torch.linspace(-1, 1, 21).tolist():
        for parameter, weight, direction in zip(net.parameters(), weights, directions, strict=True):
            parameter.copy_(weight + distance * direction)
        points.append((distance, F.cross_entropy(net(images), labels).item()))
    return points


# By diagnostic and panel, as in `ablations.mechanisms.MECHANISMS`.
PROBES: dict[str, dict[str, Probe]] = {
    "gradient-by-layer": {INITIAL: gradient_by_layer, TRAINED: gradient_by_layer},
    "response-magnitude": {INITIAL: response_magnitude, TRAINED: response_magnitude},
    "branch-variance": {INITIAL: branch_variance},
    "lesions": {DELETED: delete_one, SEVERAL: delete_several, SWAPPED: swap_neighbours},
    "path-lengths": {ANY: path_lengths},
    "gradient-correlation": {INITIAL: gradient_correlation, TRAINED: gradient_correlation},
    "loss-curve": {TRAINED: loss_curve},
}
