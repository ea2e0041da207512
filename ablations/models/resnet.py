"""Plain and residual networks of He et al. 2015 (arXiv:1512.03385), section 4.2."""

from __future__ import annotations

from torch import nn

from ablations.config import ResNet
from ablations.models.blocks import Block, basic, conv3x3
from ablations.models.shortcuts import SHORTCUTS


def resnet(model: ResNet, channels: int, classes: int) -> nn.Sequential:
    """3x3 stem, three stages of n basic blocks (the second and third halve height and width at their first
    convolution), global average pooling, linear classifier: 6n + 2 weighted layers."""
    shortcut = SHORTCUTS[model.shortcut]
    width = model.widths[0]
    layers = [conv3x3(channels, width), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    for stage, stage_width in enumerate(model.widths):
        for block in range((model.depth - 2) // 6):
            stride = 2 if stage > 0 and block == 0 else 1
            layers.append(
                Block(
                    basic(width, stage_width, stride),
                    shortcut(width, stage_width, stride) if shortcut else None,
                )
            )
            width = stage_width
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))
    initialise(net)
    return net


def initialise(net: nn.Module) -> None:
    """Normal weights of variance 2 / fan-in, zero biases (He et al. 2015, arXiv:1502.01852, eq. 10); batch norm
    starts as scale 1, shift 0."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
