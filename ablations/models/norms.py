"""Normalisations of feature maps [n, channels, height, width]."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class PixelLayerNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel, as in ConvNeXt (Liu et al. 2022, arXiv:2201.03545)."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


def norm(kind: str, channels: int, groups: int = 8, momentum: float = 0.1) -> nn.Module:
    """`batch`: Ioffe & Szegedy 2015, arXiv:1502.03167; `layer`: over channels and pixels of an image, the
    one-group case of group norm; `layer_pixel`: over the channels of each pixel; `group`: Wu & He 2018,
    arXiv:1803.08494; `instance`: over the pixels of each channel; `none`. Each but the last with a scale
    (starting at 1) and a shift (0) a channel. `momentum` is the weight of the newest batch in batch norm's
    running averages."""
    if kind == "batch":
        return nn.BatchNorm2d(channels, momentum=momentum)
    if kind == "layer":
        return nn.GroupNorm(1, channels)
    if kind == "layer_pixel":
        return PixelLayerNorm(channels)
    if kind == "group":
        return nn.GroupNorm(groups, channels)
    if kind == "instance":
        return nn.GroupNorm(channels, channels)
    return nn.Identity()
