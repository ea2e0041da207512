"""What passes through a network, forwards and backwards: gradients, Jacobians, responses, variances."""

from __future__ import annotations

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablations.errors import UserError
from ablations.mechanisms import (
    DEVIATION,
    FIRST,
    FIRST_BLOCK,
    LAST,
    LAST_BLOCK,
    MEAN,
    MIDDLE_BLOCK,
    POWER_STEPS,
    RATE,
    rate,
)
from ablations.models.blocks import Block
from ablations.models.regularisation import set_active
from ablations.models.weights import weighted

BATCH_OF_GRADIENTS = 32  # images: 164 layers of 32x32 pixels keep 40 MB an image for the way back

Points = list[tuple[float, ...]]  # where a value was taken, by one number or more, and the value


def as_in_training(net: nn.Module) -> None:
    """Batch norm by the batch's own statistics (at initialisation there are no others), nothing dropped."""
    net.train()
    set_active(net, False)


def blocks(net: nn.Sequential) -> dict[int, Block]:
    """The blocks of a plain or residual network by their place in it. UserError where there are none."""
    found = {place: layer for place, layer in enumerate(net) if isinstance(layer, Block)}
    if not found:
        raise UserError(
            "this diagnostic takes networks of family resnet: the others have no blocks to look at"
        )
    return found


def states(net: nn.Sequential, images: Tensor) -> list[tuple[int, Tensor]]:
    """What a network passes on, each with the number of layers that made it, convolutions and linear layers on the way
    through transforms: what enters the first block, what each block puts out, and the logits. Of a network without
    blocks, what each layer puts out."""
    x = images.detach().requires_grad_()
    if not any(isinstance(layer, Block) for layer in net):
        outputs: list[Tensor] = []
        hooks = [
            layer.register_forward_hook(lambda module, inputs, output: outputs.append(output))
            for layer in weighted(net)
        ]
        net(x)
        for hook in hooks:
            hook.remove()
        return list(enumerate(outputs, start=1))
    seen, passed = [], 0
    for layer in net:
        block = isinstance(layer, Block)
        if block and not seen:
            seen.append((passed, x))
        x = layer(x)
        passed += layers_of(layer) if block else len(weighted(layer))
        if block:
            seen.append((passed, x))
    return [*seen, (passed, x)]


def layers_of(block: Block) -> int:
    """The layers on the way through a block's transform; 1 of a transform without any."""
    return max(1, len(weighted(block.transform)))


def gradients(net: nn.Sequential, images: Tensor, labels: Tensor) -> list[tuple[int, Tensor, Tensor]]:
    """`states` with the gradient of the mean cross-entropy with respect to each."""
    as_in_training(net)
    passed, seen = zip(*states(net, images[:BATCH_OF_GRADIENTS]), strict=True)
    loss = F.cross_entropy(seen[-1], labels[:BATCH_OF_GRADIENTS])
    return list(zip(passed, seen, torch.autograd.grad(loss, seen), strict=True))


def gradient_by_layer(net: nn.Sequential, images: Tensor, labels: Tensor, random: torch.Generator) -> Points:
    """By the number of layers passed: the Euclidean norm of the gradient of the mean cross-entropy with respect to
    each of `states` (after Glorot & Bengio 2010, section 4.2). From one to the one before, the gradient changes by what
    the transposed Jacobian between them does to it."""
    return [(passed, gradient.norm().item()) for passed, _, gradient in gradients(net, images, labels)]


def largest_gains(net: nn.Sequential, images: Tensor, labels: Tensor, random: torch.Generator) -> Points:
    """By block from 1: the largest singular value of its Jacobian, over all images together, and of that the root that
    makes it a gain a layer. No gradient grows by more on its way back through the block. Nothing for networks without
    blocks. Estimated from below, by power iteration from the gradient of the loss on, so that it is no less than what
    that grows by."""
    of_net = [layer for layer in net if isinstance(layer, Block)]
    if not of_net:
        return []
    before = gradients(net, images, labels)
    gains = []
    for number, block in enumerate(of_net):
        x, after = before[number][1].detach().requires_grad_(), before[number + 1][2]
        gains.append(largest_singular_value(block, x, after, random) ** (1 / layers_of(block)))
    return list(enumerate(gains, start=1))


def largest_singular_value(block: nn.Module, x: Tensor, start: Tensor, random: torch.Generator) -> float:
    """That of the Jacobian of a block at x: how much longer a vector gets on its way back, after so many POWER_STEPS
    back and forth from `start`, or, where that is 0, from a random one."""
    if not start.any():
        start = torch.randn(start.shape, generator=random)
    out = block(x)
    vector = (start / start.norm()).requires_grad_()
    back = product(out, x, vector, create_graph=True)  # linear in the vector: its gradient goes forth
    found = back.detach()
    for _ in range(POWER_STEPS):
        if not found.any():
            break
        forth = product(back, vector, found, retain_graph=True)
        found = product(out, x, forth / forth.norm(), retain_graph=True)
    return found.norm().item()


def product(out: Tensor, x: Tensor, vector: Tensor, **kept: bool) -> Tensor:
    """A vector times the Jacobian of `out` at x: the gradient of a sum. With the vector as `grad_outputs` torch would
    import sympy, about a second."""
    return torch.autograd.grad((out * vector).sum(), x, **kept)[0]


@torch.no_grad()
def response_magnitude(net: nn.Sequential, images: Tensor, labels: Tensor, random: torch.Generator) -> Points:
    """By block from 1: the standard deviation, over images, channels and pixels, of its transform's output before
    the addition, in a plain network before the ReLU, over that of the block's input (after He et al. 2015, section
    4.2 and Fig. 7, there of each layer and not over anything)."""
    as_in_training(net)
    ratios: list[float] = []

    def measure(transform: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        ratios.append((output.std() / entering[-1]).item())

    entering: list[Tensor] = []
    for block in blocks(net).values():
        block.register_forward_pre_hook(lambda module, inputs: entering.append(inputs[0].std()))
        block.transform.register_forward_hook(measure)
    net(images)
    return list(enumerate(ratios, start=1))


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


def gradients_now(
    net: nn.Sequential, images: Tensor, labels: Tensor, random: torch.Generator
) -> dict[str, float]:
    """Of `gradient_by_layer` the norm at the first and at the last layer, and the rate fitted to all."""
    points = pd.DataFrame(gradient_by_layer(net, images, labels, random), columns=["position", "value"])
    return {FIRST: points["value"].iloc[0], LAST: points["value"].iloc[-1], RATE: rate(points)}


@torch.no_grad()
def activation_moments(
    net: nn.Sequential, images: Tensor, labels: Tensor, random: torch.Generator
) -> dict[str, float]:
    """Mean and standard deviation, over images, channels and pixels, of what enters the first ReLU of the transform
    (of a transform without one, the ReLU after it) in the first, the middle and the last block (after Ioffe & Szegedy
    2015, arXiv:1502.03167, Fig. 1, there percentiles of one unit)."""
    as_in_training(net)
    of_net = list(blocks(net).values())
    moments: dict[str, float] = {}
    hooks = []
    for name, place in ((FIRST_BLOCK, 0), (MIDDLE_BLOCK, len(of_net) // 2), (LAST_BLOCK, -1)):

        def measure(module: nn.Module, inputs: tuple[Tensor], name: str = name) -> None:
            moments[MEAN.format(name)] = inputs[0].mean().item()
            moments[DEVIATION.format(name)] = inputs[0].std().item()

        relu = next(module for module in of_net[place].modules() if isinstance(module, nn.ReLU))
        hooks.append(relu.register_forward_pre_hook(measure))  # before: a ReLU may change its input
    net(images)
    for hook in hooks:
        hook.remove()
    return moments
