"""Plain and residual networks: He et al. 2015 (arXiv:1512.03385) and 2016 (arXiv:1603.05027), Wide ResNet
(arXiv:1605.07146), ResNeXt (arXiv:1611.05431)."""

from __future__ import annotations

from torch import nn

from ablations.models.blocks import Bias, Block, activation, block, conv
from ablations.models.initialisation import fixup, he, identity, initialise, small, xavier
from ablations.models.sizes import GlobalAverage
from ablations.models.weights import factorise
from ablations.networks import EXPANSION, ResNet


def resnet(model: ResNet, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Stem, stages of blocks (each but the first halves height and width in its first block), global average
    pooling, linear classifier."""
    width = model.stem_channels
    layers = stem(model, shape[0], width)
    total, number = sum(model.stage_blocks), 0
    for stage, (blocks, stage_width, inner) in enumerate(
        zip(model.stage_blocks, model.widths, model.inner_widths, strict=True)
    ):
        shared: Block | None = None
        for place in range(blocks):
            number += 1
            rate = model.stochastic_depth * (number / total if model.depth_rule == "linear" else 1)
            stride = 2 if stage > 0 and place == 0 else 1
            if shared is None:
                each = block(model, width, stage_width, inner, stride, number == 1, rate)
                keeps_shape = stride == 1 and width == stage_width * EXPANSION.get(model.block, 1)
                shared = each if model.tied and keeps_shape and each.pre is None else None
            layers.append(each if shared is None else shared)
            width = stage_width * EXPANSION.get(model.block, 1)
    if model.order in ("pre", "relu_only_pre"):  # what the next block would have begun with
        layers.append(activation(model, "nr" if model.order == "pre" else "r", width))
    layers += [GlobalAverage(), nn.Flatten()]
    layers += [Bias()] if model.initialisation == "fixup" else []
    net = nn.Sequential(*layers, nn.Linear(width, classes))
    initialise(net, {"xavier": xavier, "small": small}.get(model.initialisation, he))
    if model.initialisation == "identity":
        identity(net)
    if model.initialisation == "fixup":
        fixup(net)
    if model.weights == "product":
        factorise(net)
    return net


def stem(model: ResNet, channels: int, width: int) -> list[nn.Module]:
    """3x3 convolution; for large images 7x7 at stride 2 and 3x3 max-pooling at stride 2. A pre-activated network
    has its first norm and ReLU in the first block."""
    large = model.stem == "conv7"
    layers: list[nn.Module] = [conv(model, channels, width, 7 if large else 3, stride=2 if large else 1)]
    if model.order != "pre":
        layers.append(activation(model, "rn" if model.order == "norm_after_activation" else "nr", width))
    if large:
        layers.append(nn.MaxPool2d(3, stride=2, padding=1))
    return layers
