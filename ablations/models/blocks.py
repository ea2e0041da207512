"""Blocks: a shortcut and a transform, chosen independently."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def conv3x3(channels_in: int, channels_out: int, stride: int = 1) -> nn.Conv2d:
    """3x3 convolution that keeps the size (at stride 1), without bias: a batch norm follows."""
    return nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)


def basic(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    """Two 3x3 convolutions, each with batch norm, a ReLU between them (He et al. 2015, fig. 5 left)."""
    return nn.Sequential(
        conv3x3(channels_in, channels_out, stride),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
        conv3x3(channels_out, channels_out),
        nn.BatchNorm2d(channels_out),
    )


class Block(nn.Module):
    """ReLU(shortcut(x) + transform(x)); without a shortcut, ReLU(transform(x)): the plain network's block."""

    def __init__(self, transform: nn.Module, shortcut: nn.Module | None):
        super().__init__()
        self.transform = transform
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        out = self.transform(x)
        if self.shortcut is not None:
            out = out + self.shortcut(x)
        return F.relu(out)
