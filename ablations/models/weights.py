"""Weights stored as products of two factors, and weights as the forward pass sees them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class Product(nn.Module):
    """w = a b, element by element. At a given w, |a|^2 + |b|^2 is smallest, 2 |w|_1, where |a| = |b|, and decay
    leads there: an L2 penalty on the factors is an L1 penalty on the weights (Hoff 2017, arXiv:1611.00099; Ziyin
    & Wang 2023, arXiv:2210.01212)."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a * b

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """a = w, b = 1. From balanced factors, |a| = |b|, gradient steps would keep them balanced, and no weight
        could ever change its sign."""
        return weight, torch.ones_like(weight)


def factorise(net: nn.Module) -> None:
    """Store the weight of every convolution and linear layer as a product that is what the weight was. The
    network stays the same function at the same multiply-adds; its parameters are then two numbers a weight."""
    for layer in weighted(net):
        parametrize.register_parametrization(layer, "weight", Product())


def effective_weights(net: nn.Module) -> list[Tensor]:
    """The weights of convolutions and linear layers as the forward pass sees them, products multiplied out, in
    the order of definition. Part of the graph: detach them for a measure."""
    return [layer.weight for layer in weighted(net)]


def weighted(net: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    """The convolutions and linear layers of a network, each once."""
    return [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
