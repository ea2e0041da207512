"""VGG: Simonyan & Zisserman 2015, arXiv:1409.1556."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from ablations.models.initialisation import initialise
from ablations.models.regularisation import Dropout
from ablations.models.sizes import averaged, pool
from ablations.networks import VGG


def vgg(model: VGG, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Stages of 3x3 convolutions and ReLUs, a 2x2 max pooling after each, hidden linear layers, linear classifier
    (table 1). A pooling that would leave fewer than 2x2 pixels is left out. Hidden layers read the pixels that
    are left, averaged to at most 7x7; without hidden layers the classifier reads the global average."""
    width, size = shape[0], shape[1:]
    layers: list[nn.Module] = []
    for convolutions, stage_width in zip(model.convolutions, model.widths, strict=True):
        for _ in range(convolutions):
            layers.append(nn.Conv2d(width, stage_width, 3, padding=1))  # with bias, batch norm or not
            layers += [nn.BatchNorm2d(stage_width)] if model.norm == "batch" else []
            layers.append(nn.ReLU(inplace=True))
            width = stage_width
        pooling, size = pool(size)
        layers += pooling
    average, size = averaged(size, 7 if model.hidden else 1)
    layers += [*average, nn.Flatten()]
    dropout = [Dropout(model.dropout)] if model.dropout else []
    units = (width * size[0] * size[1], *model.hidden)
    for before, after in pairwise(units):
        layers += [nn.Linear(before, after), nn.ReLU(inplace=True), *dropout]
    layers += [] if model.hidden else dropout
    net = nn.Sequential(*layers, nn.Linear(units[-1], classes))
    initialise(net)
    return net
