"""GoogLeNet: Szegedy et al. 2015, arXiv:1409.4842, with batch norm as torchvision has it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ablations.models.initialisation import initialise
from ablations.models.regularisation import Dropout
from ablations.models.sizes import GlobalAverage, after, fitting_stride, pool, scaled
from ablations.networks import GoogLeNet

# Channels of the modules 3a to 5b (table 1): 1x1, 3x3 reduced, 3x3, 5x5 reduced, 5x5, 1x1 after the pooling.
STAGES = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)


def conv(channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution that keeps the size (at stride 1), batch norm with torchvision's epsilon, ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(channels_out, eps=0.001),
        nn.ReLU(inplace=True),
    )


class Inception(nn.Module):
    """Four branches side by side, their channels concatenated (fig. 2b). The branch that is 5x5 in the paper is
    3x3, as in torchvision, whose weights were trained so (github.com/pytorch/vision/issues/906)."""

    def __init__(
        self, channels: int, one: int, reduced3: int, three: int, reduced5: int, five: int, pooled: int
    ):
        super().__init__()
        self.branches = nn.ModuleList(
            [
                conv(channels, one, 1),
                nn.Sequential(conv(channels, reduced3, 1), conv(reduced3, three, 3)),
                nn.Sequential(conv(channels, reduced5, 1), conv(reduced5, five, 3)),
                nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), conv(channels, pooled, 1)),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def googlenet(model: GoogLeNet, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Stem, three stages of Inception modules with a max pooling between them, global average pooling, linear
    classifier (table 1). The stem conv3 begins with a 3x3 convolution at stride 1 and has no pooling; with either
    stem, a step that would leave fewer than 2x2 pixels does not shrink the image."""
    size, large = shape[1:], model.stem == "conv7"
    kernel = 7 if large else 3
    stride = fitting_stride(size, 7, 2, 3) if large else 1
    size = after(size, kernel, stride, kernel // 2)
    narrow, width = scaled(64, model.multiplier), scaled(192, model.multiplier)
    layers: list[nn.Module] = [conv(shape[0], narrow, kernel, stride)]

    def shrink(window: int) -> None:
        nonlocal size
        pooling, size = pool(size, window, ceil=True)
        layers.extend(pooling)

    if large:
        shrink(3)
    layers += [conv(narrow, narrow, 1), conv(narrow, width, 3)]
    if large:
        shrink(3)
    for stage, modules in enumerate(STAGES):
        if stage > 0:
            shrink(3 if stage == 1 else 2)  # 2x2 before the last stage, as in torchvision; the paper has 3x3
        for module in modules:
            channels = [scaled(each, model.multiplier) for each in module]
            layers.append(Inception(width, *channels))
            width = channels[0] + channels[2] + channels[4] + channels[5]
    layers += [GlobalAverage(), nn.Flatten()]
    layers += [Dropout(model.dropout)] if model.dropout else []
    net = nn.Sequential(*layers, nn.Linear(width, classes))
    initialise(net)
    return net
