"""Networks made for images of 224 pixels, on small ones: a step that would leave fewer than 2x2 pixels does not
shrink the image. A pooling is left out then, a convolution takes stride 1. And with fewer channels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

SMALLEST = 2  # pixels of height and width
Size = tuple[int, int]


def scaled(channels: int, multiplier: float) -> int:
    """Channels times a width multiplier, rounded down; one at least."""
    return max(1, int(channels * multiplier))


def after(size: Size, kernel: int, stride: int = 1, padding: int = 0, ceil: bool = False) -> Size:
    """Height and width after a convolution or pooling; `ceil`: the last window may reach over the edge."""
    height, width = (
        (side + 2 * padding - kernel + (stride - 1 if ceil else 0)) // stride + 1 for side in size
    )
    return height, width


class GlobalAverage(nn.Module):
    """The mean over all pixels of each channel: [n, c, h, w] to [n, c, 1, 1]. As a pooling over the whole image its
    gradient keeps the layout of x, where that of a mean does not, and what reads it next is many times slower."""

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, x.shape[2:])


def averaged(size: Size, largest: int) -> tuple[list[nn.Module], Size]:
    """An average down to at most `largest` pixels a side, and the size after it; no layer where that changes nothing
    (its backward pass is not deterministic on CUDA)."""
    smaller = (min(size[0], largest), min(size[1], largest))
    if smaller == size:
        return [], smaller
    return [GlobalAverage() if smaller == (1, 1) else nn.AdaptiveAvgPool2d(smaller)], smaller


def fitting_stride(size: Size, kernel: int, stride: int, padding: int) -> int:
    """The stride, or 1 where it would leave fewer than 2x2 pixels."""
    return stride if min(after(size, kernel, stride, padding)) >= SMALLEST else 1


def pool(
    size: Size, kernel: int = 2, ceil: bool = False, kind: type[nn.Module] = nn.MaxPool2d
) -> tuple[list[nn.Module], Size]:
    """A pooling at stride 2 and the size after it; no layer where it would leave fewer than 2x2 pixels."""
    smaller = after(size, kernel, 2, ceil=ceil)
    if min(smaller) < SMALLEST:
        return [], size
    return [kind(kernel, stride=2, ceil_mode=ceil)], smaller
