"""What is dropped while training, each by torch's global random state: units, channels, weights, blocks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablations.models.convolutions import Conv2d


class Regularised(nn.Module):
    """Drops in training mode while `active`; a recipe may limit that to an early or late part of the training."""

    active = True

    @property
    def dropping(self) -> bool:
        """Whether something is dropped now."""
        return self.training and self.active


class Dropout(Regularised):
    """Each unit with probability `rate`, or each whole channel (`spatial`: Tompson et al. 2015, arXiv:1411.4280);
    what stays is scaled by 1 / (1 - rate) (Srivastava et al. 2014, section 10)."""

    def __init__(self, rate: float, spatial: bool = False):
        super().__init__()
        self.rate = rate
        self.drop = F.dropout2d if spatial else F.dropout

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(x, self.rate, training=self.dropping)


class DropConnectConv2d(Conv2d, Regularised):
    """A convolution each of whose weights is dropped with probability `rate` at every step (Wan et al. 2013)."""

    def __init__(self, *arguments, rate: float, **options):
        super().__init__(*arguments, **options)
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        weight = F.dropout(self.weight, self.rate, training=self.dropping)
        return self._conv_forward(x, weight, self.bias)


def keep_factor(rate: float, mode: str, x: Tensor) -> float | Tensor | None:
    """The factor on a transform under stochastic depth, 1 / (1 - rate) where it is kept. Mode `batch`: None where
    it is dropped, by one draw on the CPU, so that nothing waits for the device; mode `sample`: a factor [n, 1, 1, 1],
    0 for the images that drop it."""
    if mode == "batch":
        return None if torch.rand(()).item() < rate else 1 / (1 - rate)
    return torch.empty(len(x), 1, 1, 1, device=x.device, dtype=x.dtype).bernoulli_(1 - rate) / (1 - rate)


def set_active(net: nn.Module, active: bool) -> bool:
    """Turn all dropping of a network on or off. Whether that changed anything."""
    changed = [
        module for module in net.modules() if isinstance(module, Regularised) and module.active != active
    ]
    for module in changed:
        module.active = active
    return bool(changed)
