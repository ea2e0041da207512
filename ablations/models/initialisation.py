"""Initial weights."""

from __future__ import annotations

from torch import nn


def initialise(net: nn.Module) -> None:
    """Normal weights of variance 2 / fan-in, zero biases (He et al. 2015, arXiv:1502.01852, eq. 10); norms start
    as scale 1, shift 0."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def identity(net: nn.Module) -> None:
    """The constructed solution of He et al. 2015, section 1: every square convolution that keeps its channels
    passes its input on, so that added layers change nothing (where ReLU passes)."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == module.out_channels and module.groups == 1:
            nn.init.dirac_(module.weight)
