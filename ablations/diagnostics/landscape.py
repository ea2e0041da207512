"""The loss and its gradients around a network's weights and inputs."""

from __future__ import annotations

import math
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from ablations.diagnostics.signals import BATCH_OF_GRADIENTS, Points, as_in_training
from ablations.mechanisms import RANGE, SMOOTHNESS

PAIRS = 4  # of images, the first with the fifth and so on
STEPS = 32  # from one image of a pair to the other
BATCH_OF_LOSSES = (
    32  # images for the loss at each of many places: of small networks twice as many take half as long again
)
GRID = tuple(step / 4 for step in range(-4, 5))  # distances from the trained weights along a direction
STEP_SIZES = (0.05, 0.1, 0.2)  # along the gradient, times its length


def gradient_correlation(
    net: nn.Sequential, images: Tensor, labels: Tensor, random: torch.Generator
) -> Points:
    """By distance between two inputs, on the straight line from one image to another and in parts of it, up to half of
    it: the mean cosine of the angle between their gradients, each of the first logit with respect to the input (after
    Balduzzi et al. 2017, arXiv:1702.08591: there the autocorrelation over a one-dimensional input). 1: the network
    is linear there; 0: gradients are white noise."""
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
def losses(net: nn.Sequential, images: Tensor, labels: Tensor, random: torch.Generator, axes: int) -> Points:
    """The mean cross-entropy in nats on a grid of weights around the network's, along as many filter-normalised
    random directions as there are `axes`; batch norm with its running averages."""
    net.eval()
    images, labels = images[:BATCH_OF_LOSSES], labels[:BATCH_OF_LOSSES]
    parameters = list(net.parameters())
    weights = [parameter.clone() for parameter in parameters]
    directions = [[filter_normalised(weight, random) for weight in weights] for _ in range(axes)]
    points = []
    for place in product(GRID, repeat=axes):
        for parameter, weight, *along in zip(parameters, weights, *directions, strict=True):
            parameter.copy_(weight)
            for distance, direction in zip(place, along, strict=True):
                parameter.add_(direction, alpha=distance)
        points.append((*place, F.cross_entropy(net(images), labels).item()))
    return points


def loss_curve(net: nn.Sequential, images: Tensor, labels: Tensor, random: torch.Generator) -> Points:
    """By the distance from the trained weights along a filter-normalised random direction, -1 to 1: the mean
    cross-entropy in nats (Li et al. 2018, section 4)."""
    return losses(net, images, labels, random, 1)


def loss_contour(net: nn.Sequential, images: Tensor, labels: Tensor, random: torch.Generator) -> Points:
    """By the distances from the trained weights along two filter-normalised random directions, each -1 to 1: the
    mean cross-entropy in nats (Li et al. 2018, section 4)."""
    return losses(net, images, labels, random, 2)


def loss_along_gradient(
    net: nn.Sequential, images: Tensor, labels: Tensor, random: torch.Generator
) -> dict[str, float]:
    """Down the gradient g from the weights w: how far apart the losses (nats) at w and after steps of several sizes
    are, and the largest change of the gradient over the distance moved, |g(w) - g(w - step g)| / (step |g|), which the
    Lipschitz constant of the gradient bounds (after Santurkar et al. 2018, arXiv:1805.11604). Infinite where the
    numbers overflow; nothing where the gradient is zero."""
    as_in_training(net)
    parameters = list(net.parameters())
    images, labels = images[:BATCH_OF_GRADIENTS], labels[:BATCH_OF_GRADIENTS]

    def look() -> tuple[float, tuple[Tensor, ...]]:
        loss = F.cross_entropy(net(images), labels)
        return loss.item(), torch.autograd.grad(loss, parameters)

    loss, gradient = look()
    length = get_total_norm(gradient).item()
    if length == 0:
        return {}
    losses, changes = [loss], []
    weights = [parameter.detach().clone() for parameter in parameters]
    for step in STEP_SIZES:
        with torch.no_grad():
            for parameter, weight, slope in zip(parameters, weights, gradient, strict=True):
                parameter.copy_(weight - step * slope)
        loss, moved = look()
        losses.append(loss)
        change = get_total_norm([a - b for a, b in zip(gradient, moved, strict=True)]).item()
        changes.append(change / (step * length))
    found = {RANGE: max(losses) - min(losses), SMOOTHNESS: max(changes)}
    overflow = not all(map(math.isfinite, (*losses, *changes)))
    return dict.fromkeys(found, math.inf) if overflow else found
