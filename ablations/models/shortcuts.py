"""Shortcuts: how a block's input joins its transform. Each maps (x, transformed) to their sum, and (x, None) to
the shortcut alone, for a block that stochastic depth has dropped. Shapes: x [n, channels_in, h, w], transformed
[n, channels_out, h / stride, w / stride]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablations.models.convolutions import Conv2d
from ablations.models.regularisation import Dropout


class Identity(nn.Module):
    """The identity; where the shape changes, option A of He et al. 2015, section 3.3: every `stride`-th pixel,
    and zeros for the added channels. No parameters."""

    def __init__(self, channels_in: int, channels_out: int, stride: int):
        super().__init__()
        self.stride = stride
        self.added = channels_out - channels_in

    def path(self, x: Tensor) -> Tensor:
        """The input in the shape of the block's output."""
        if self.stride > 1:
            x = F.avg_pool2d(x, 1, self.stride)  # a slice, whose gradient keeps the layout of x
        if self.added < 0:
            return x[:, : self.added]
        return F.pad(x, (0, 0, 0, 0, 0, self.added)) if self.added else x

    def forward(self, x: Tensor, transformed: Tensor | None) -> Tensor:
        path = self.path(x)
        return path if transformed is None else path + transformed


class Projection(nn.Module):
    """A 1x1 convolution, normalised unless the block is pre-activated (options B and C)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, norm: nn.Module, bias: bool):
        super().__init__()
        self.path = nn.Sequential(Conv2d(channels_in, channels_out, 1, stride=stride, bias=bias), norm)

    def forward(self, x: Tensor, transformed: Tensor | None) -> Tensor:
        path = self.path(x)
        return path if transformed is None else path + transformed


class Scaled(Identity):
    """Constant scaling by 0.5 of the shortcut, or of shortcut and transform (He et al. 2016, section 3.1)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, both: bool):
        super().__init__(channels_in, channels_out, stride)
        self.scale = 0.5 if both else 1.0

    def forward(self, x: Tensor, transformed: Tensor | None) -> Tensor:
        path = 0.5 * self.path(x)
        return path if transformed is None else path + self.scale * transformed


class Gated(Identity):
    """(1 - g) x + g F, or (1 - g) x + F, with g a sigmoid of a 1x1 convolution of x (He et al. 2016, section
    3.1). `bias` is where the gate starts."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, bias: float, exclusive: bool):
        super().__init__(channels_in, channels_out, stride)
        self.gate = Conv2d(channels_in, channels_out, 1, stride=stride)
        self.start, self.exclusive = bias, exclusive

    def forward(self, x: Tensor, transformed: Tensor | None) -> Tensor:
        gate = torch.sigmoid(self.gate(x) + self.start)
        path = (1 - gate) * self.path(x)
        if transformed is None:
            return path
        return path + (gate * transformed if self.exclusive else transformed)


class Dropped(Identity):
    """The identity with dropout 0.5 (He et al. 2016, section 3.1)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int):
        super().__init__(channels_in, channels_out, stride)
        self.dropout = Dropout(0.5)

    def forward(self, x: Tensor, transformed: Tensor | None) -> Tensor:
        path = self.dropout(self.path(x))
        return path if transformed is None else path + transformed
