"""LeNet-5, AlexNet and MobileNet: networks of one short table each."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from ablations.models.initialisation import initialise
from ablations.models.regularisation import Dropout
from ablations.models.sizes import GlobalAverage, after, averaged, fitting_stride, pool, scaled
from ablations.networks import AlexNet, LeNet, MobileNet


def lenet(model: LeNet, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """5x5 convolutions to 6 and 16 channels, a 2x2 average pooling after each, linear layers of 120, 84 and
    `classes` units (LeCun et al. 1998, fig. 2). In the paper the convolutions get 32 and 14 pixels; one that gets
    fewer pads by two, so that it keeps the size. A pooling that would leave fewer than 2x2 pixels is left out."""
    activation = nn.Tanh if model.activation == "tanh" else nn.ReLU
    width, size = shape[0], shape[1:]
    layers: list[nn.Module] = []
    for channels, pixels in ((6, 32), (16, 14)):
        padding = 2 if min(size) < pixels else 0
        layers += [nn.Conv2d(width, channels, 5, padding=padding), activation()]
        pooling, size = pool(after(size, 5, padding=padding), kind=nn.AvgPool2d)
        layers += pooling
        width = channels
    layers.append(nn.Flatten())
    units = (width * size[0] * size[1], 120, 84)
    for before, behind in pairwise(units):
        layers += [nn.Linear(before, behind), activation()]
    net = nn.Sequential(*layers, nn.Linear(units[-1], classes))
    initialise(net)
    return net


def alexnet(model: AlexNet, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Five convolutions with three 3x3 max poolings between and after them, hidden linear layers, linear
    classifier (Krizhevsky 2014, as in torchvision). The stem conv3 is a 3x3 convolution at stride 1; with either
    stem, a step that would leave fewer than 2x2 pixels does not shrink the image. The linear layers read the
    pixels that are left, averaged to at most 6x6."""
    kernel, stride, padding = (11, 4, 2) if model.stem == "conv11" else (3, 1, 1)
    stride = fitting_stride(shape[1:], kernel, stride, padding)
    size = after(shape[1:], kernel, stride, padding)
    width = scaled(64, model.multiplier)
    layers: list[nn.Module] = [nn.Conv2d(shape[0], width, kernel, stride, padding), nn.ReLU(inplace=True)]
    # The second to fifth convolution: channels, kernel size, whether a pooling stands before.
    for channels, kernel, pooled in ((192, 5, True), (384, 3, True), (256, 3, False), (256, 3, False)):
        if pooled:
            pooling, size = pool(size, 3)
            layers += pooling
        channels = scaled(channels, model.multiplier)
        layers += [nn.Conv2d(width, channels, kernel, padding=kernel // 2), nn.ReLU(inplace=True)]
        width = channels
    pooling, size = pool(size, 3)
    average, size = averaged(size, 6)
    layers += [*pooling, *average, nn.Flatten()]
    units = (width * size[0] * size[1], *model.hidden)
    for before, behind in pairwise(units):
        layers += [Dropout(model.dropout)] if model.dropout else []
        layers += [nn.Linear(before, behind), nn.ReLU(inplace=True)]
    net = nn.Sequential(*layers, nn.Linear(units[-1], classes))
    initialise(net)
    return net


# Channels and stride of MobileNet's blocks (table 1; the stride of the last is misprinted there).
MOBILENET = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))


def mobilenet(model: MobileNet, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """3x3 convolution to 32 channels, thirteen blocks, global average pooling, linear classifier (Howard et al.
    2017, table 1). A block is a 3x3 convolution of each channel by itself and a 1x1 convolution, each with batch
    norm and ReLU (fig. 3). A stride that would leave fewer than 2x2 pixels is 1."""
    size = shape[1:]
    layers: list[nn.Module] = []

    def conv(channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        nonlocal size
        padding = kernel // 2
        stride = fitting_stride(size, kernel, stride, padding)
        size = after(size, kernel, stride, padding)
        layers.extend(
            [
                nn.Conv2d(channels_in, channels_out, kernel, stride, padding, groups=groups, bias=False),
                nn.BatchNorm2d(channels_out),
                nn.ReLU(inplace=True),
            ]
        )

    width = scaled(32, model.multiplier)
    conv(shape[0], width, 3, model.stem_stride)
    for channels, stride in MOBILENET:
        block_width = scaled(channels, model.multiplier)
        if model.separable:
            conv(width, width, 3, stride, groups=width)
            conv(width, block_width, 1)
        else:
            conv(width, block_width, 3, stride)
        width = block_width
    net = nn.Sequential(*layers, GlobalAverage(), nn.Flatten(), nn.Linear(width, classes))
    initialise(net)
    return net
