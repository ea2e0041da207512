"""Shortcuts: what a block adds to its transform."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Identity(nn.Module):
    """The identity; where the shape changes, option A of He et al. 2015, section 3.3: every `stride`-th pixel,
    and zeros for the added channels. No parameters."""

    def __init__(self, channels_in: int, channels_out: int, stride: int):
        super().__init__()
        self.stride = stride
        self.added = channels_out - channels_in

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, 0, self.added)) if self.added else x


SHORTCUTS = {"none": None, "identity": Identity}
