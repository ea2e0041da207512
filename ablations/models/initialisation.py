"""Initial weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ablations.models.blocks import Block


def he(layer: nn.Conv2d | nn.Linear) -> None:
    """Normal weights of variance 2 / fan-in (He et al. 2015, arXiv:1502.01852, eq. 10)."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")


def xavier(layer: nn.Conv2d | nn.Linear) -> None:
    """Normal weights of variance 2 / (fan-in + fan-out) (Glorot & Bengio 2010, eq. 12), both counted within a
    group of channels."""
    fan_in = layer.weight[0].numel()
    fan_out = layer.weight.numel() // (layer.weight.shape[1] * getattr(layer, "groups", 1))
    nn.init.normal_(layer.weight, std=(2 / (fan_in + fan_out)) ** 0.5)


def small(layer: nn.Conv2d | nn.Linear) -> None:
    """Normal weights of standard deviation 0.01, whatever the layer (Krizhevsky et al. 2012, section 5)."""
    nn.init.normal_(layer.weight, std=0.01)


def initialise(net: nn.Module, draw: Callable[[nn.Conv2d | nn.Linear], None] = he) -> None:
    """Weights by `draw`, zero biases; norms start as scale 1, shift 0."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            draw(module)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def identity(net: nn.Module) -> None:
    """The constructed solution of He et al. 2015, section 1: every square convolution that keeps its channels
    passes its input on, so that added layers change nothing (where ReLU passes)."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == module.out_channels and module.groups == 1:
            nn.init.dirac_(module.weight)


def fixup(net: nn.Sequential) -> None:
    """Zhang, Dauphin & Ma 2019, arXiv:1901.09321, section 3, on weights drawn by `he`: the last layer of each
    transform and the classifier at 0, the other m - 1 layers of a transform scaled by L^(-1 / (2m - 2)), with
    L blocks in the network. Its learnt scalars are modules: a factor on each transform, a bias before each
    ReLU, linear layer and convolution (but the stem's, which reads the images: so in the authors' code)."""
    blocks = [layer for layer in net if isinstance(layer, Block)]
    for block in set(blocks):  # tied blocks count each, their weights are scaled once
        *others, last = (layer for layer in block.transform if isinstance(layer, nn.Conv2d))
        for layer in others:
            with torch.no_grad():
                layer.weight *= len(blocks) ** (-1 / (2 * len(others)))
        nn.init.zeros_(last.weight)
    nn.init.zeros_(net[-1].weight)
