"""The convolution of residual networks."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Conv2d(nn.Conv2d):
    """A convolution whose 1x1 kernels with a stride pick their pixels first: the same sums. On processors oneDNN's
    own kernel writes past its buffer where such a layer reads fewer than 16 channels, and gradients of weights
    come out wrong, or the process dies (its issue 6035)."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.kernel_size == (1, 1) and self.stride != (1, 1) and self.in_channels < 16:
            down, across = self.stride
            return F.conv2d(x[:, :, ::down, ::across], weight, bias, groups=self.groups)
        return super()._conv_forward(x, weight, bias)
