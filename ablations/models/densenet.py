"""DenseNet: Huang et al. 2017, arXiv:1608.06993."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ablations.models.initialisation import initialise
from ablations.models.regularisation import Dropout
from ablations.models.sizes import GlobalAverage
from ablations.networks import DenseNet


class DenseLayer(nn.Module):
    """Norm, ReLU and 3x3 convolution to `growth_rate` channels, concatenated to the input; with a bottleneck a
    norm, ReLU and 1x1 convolution to four times as many before (section 3)."""

    def __init__(self, model: DenseNet, channels: int):
        super().__init__()
        layers: list[nn.Module] = []
        inner = 4 * model.growth_rate
        steps = (
            [(channels, inner, 1), (inner, model.growth_rate, 3)]
            if model.bottleneck
            else [(channels, model.growth_rate, 3)]
        )
        for channels_in, channels_out, kernel in steps:
            layers += pre_activated(channels_in, channels_out, kernel)
            if model.dropout:
                layers.append(Dropout(model.dropout))
        self.transform = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.transform(x)], 1)


def pre_activated(channels_in: int, channels_out: int, kernel: int) -> list[nn.Module]:
    """Batch norm, ReLU, convolution. Not in place: the concatenated input is read again by later layers."""
    return [
        nn.BatchNorm2d(channels_in),
        nn.ReLU(),
        nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False),
    ]


def densenet(model: DenseNet, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Stem, dense blocks with transitions between them (1x1 convolution to `compression` times the channels,
    2x2 average pooling), norm, ReLU, global average pooling, linear classifier. A pooling that would leave no pixel
    is left out."""
    channels, size = model.stem_channels, min(shape[1:])
    layers: list[nn.Module]
    if model.stem == "conv7":
        layers = [
            nn.Conv2d(shape[0], channels, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        ]
        size = -(-size // 4)
    else:
        layers = [nn.Conv2d(shape[0], channels, 3, padding=1, bias=False)]
    for number, count in enumerate(model.block_layers):
        if number > 0:
            kept = int(channels * model.compression)
            layers += [*pre_activated(channels, kept, 1), *([nn.AvgPool2d(2)] if size > 1 else [])]
            channels, size = kept, max(1, size // 2)
        for _ in range(count):
            layers.append(DenseLayer(model, channels))
            channels += model.growth_rate
    layers += [nn.BatchNorm2d(channels), nn.ReLU(), GlobalAverage(), nn.Flatten()]
    net = nn.Sequential(*layers, nn.Linear(channels, classes))
    initialise(net)
    return net
