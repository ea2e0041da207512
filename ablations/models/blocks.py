"""Blocks of the residual family: a shortcut and a transform, chosen independently."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ablations.models import shortcuts
from ablations.models.convolutions import Conv2d
from ablations.models.norms import norm
from ablations.models.regularisation import DropConnectConv2d, Dropout, Regularised, keep_factor
from ablations.networks import BLOCKS, EXPANSION, ORDERS, ResNet


class Block(Regularised):
    """activation(shortcut(x) + transform(x)), or activation(transform(x)) without a shortcut: the plain
    network's block. `pre` is a norm and ReLU that shortcut and transform share."""

    def __init__(
        self,
        transform: nn.Module,
        shortcut: nn.Module | None,
        activation: nn.Module,
        pre: nn.Module | None = None,
        step_size: float = 1.0,
        gain: float | None = None,
        drop_rate: float = 0.0,
        drop_mode: str = "batch",
    ):
        super().__init__()
        self.transform, self.shortcut, self.activation, self.pre = transform, shortcut, activation, pre
        self.step_size = step_size
        # A learnt factor on the transform: from 0 in SkipInit (De & Smith 2020, arXiv:2002.10444), 1 in Fixup.
        self.gain = None if gain is None else nn.Parameter(torch.full((), gain))
        self.drop_rate, self.drop_mode = drop_rate, drop_mode

    @property
    def skips_batches(self) -> bool:
        """Whether stochastic depth skips it for a whole batch at a time."""
        return self.drop_rate > 0 and self.drop_mode == "batch"

    def forward(self, x: Tensor) -> Tensor:
        if self.pre is not None:
            x = self.pre(x)
        if self.shortcut is None:
            return self.activation(self.transform(x))
        scale = None if self.step_size == 1 else self.step_size
        if self.drop_rate and self.dropping:
            keep = keep_factor(self.drop_rate, self.drop_mode, x)
            if keep is None:  # the whole batch skips the block, and its time is saved
                return self.activation(self.shortcut(x, None))
            scale = keep * self.step_size
        out = self.transform(x)
        if self.gain is not None:
            out = self.gain * out
        return self.activation(self.shortcut(x, out if scale is None else scale * out))


class Bias(nn.Module):
    """Adds one learnt number, 0 at first: a bias of Fixup (Zhang, Dauphin & Ma 2019, section 3)."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias


def conv(
    model: ResNet, channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    """A convolution that keeps the size at stride 1."""
    options = {"stride": stride, "padding": kernel // 2, "groups": groups, "bias": model.biases}
    if model.drop_connect:
        return DropConnectConv2d(channels_in, channels_out, kernel, rate=model.drop_connect, **options)
    return Conv2d(channels_in, channels_out, kernel, **options)


def activation(model: ResNet, tokens: str, channels: int) -> nn.Module:
    """A norm for each n, a ReLU for each r, in Fixup with a bias before; norm `none` leaves nothing for n. A
    ReLU works in place only on the norm's or bias's own output: the shortcut needs a block's input again."""
    layers: list[nn.Module] = []
    for token in tokens:
        if token == "r":
            layers += [Bias()] if model.initialisation == "fixup" else []
            layers.append(nn.ReLU(inplace=bool(layers)))
        elif model.norm != "none":
            layers.append(norm(model.norm, channels, model.groups, model.norm_momentum))
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


def transform(
    model: ResNet, channels_in: int, width: int, inner: int, stride: int, bare: bool
) -> nn.Sequential:
    """The convolutions of `model.block` with norms and ReLUs in `model.order`. `bare` leaves out what stands
    before the first convolution: the block has it as `pre`."""
    kernels, order = BLOCKS[model.block], ORDERS[model.order]
    out = [width] * len(kernels)
    if model.block == "bottleneck":
        out = [inner, inner, EXPANSION["bottleneck"] * width]
    strided = kernels.index(3) if model.stride == "conv3" else 0
    layers: list[nn.Module] = []
    for i, (kernel, channels_out) in enumerate(zip(kernels, out, strict=True)):
        if order["before"] and not (bare and i == 0):
            layers.append(activation(model, order["before"], channels_in))
        if i > 0 and model.dropout:
            layers.append(Dropout(model.dropout))
        if i > 0 and model.spatial_dropout:
            layers.append(Dropout(model.spatial_dropout, spatial=True))
        if model.initialisation == "fixup" and not (bare and i == 0):
            layers.append(Bias())
        groups = model.cardinality if model.block == "bottleneck" and kernel == 3 else 1
        layers.append(conv(model, channels_in, channels_out, kernel, stride if i == strided else 1, groups))
        after = order["last" if i == len(kernels) - 1 else "after"]
        if after:
            layers.append(activation(model, after, channels_out))
        channels_in = channels_out
    return nn.Sequential(*layers)


def block(
    model: ResNet, channels_in: int, width: int, inner: int, stride: int, first: bool, drop_rate: float
) -> Block:
    """One block of a stage. In pre-activated networks the first block of all, and each that changes the shape,
    share their first norm and ReLU with the shortcut (He et al. 2016, appendix). In Fixup a shortcut that is
    not the identity shares the transform's first bias, as in the authors' code (hongyi-zhang/Fixup)."""
    channels_out = width * EXPANSION.get(model.block, 1)
    changes = stride > 1 or channels_in != channels_out
    fixup = model.initialisation == "fixup"
    bare = (
        changes or model.shortcut == "projections" if fixup else model.order == "pre" and (first or changes)
    )
    pre = None
    if bare:
        pre = Bias() if fixup else activation(model, ORDERS["pre"]["before"], channels_in)
    return Block(
        transform(model, channels_in, width, inner, stride, bare),
        shortcut(model, channels_in, channels_out, stride, changes),
        activation(model, ORDERS[model.order]["addition"], channels_out),
        pre=pre,
        step_size=model.step_size,
        gain={"skipinit": 0.0, "fixup": 1.0}.get(model.initialisation),
        drop_rate=drop_rate,
        drop_mode=model.depth_mode,
    )


def shortcut(
    model: ResNet, channels_in: int, channels_out: int, stride: int, changes: bool
) -> nn.Module | None:
    """The shortcut of a block; see `ablations.networks.SHORTCUTS`."""
    shape = (channels_in, channels_out, stride)
    kind = model.shortcut
    if kind == "none":
        return None
    if kind == "projections" or (kind == "projection" and changes):
        after = nn.Identity() if model.order == "pre" else activation(model, "n", channels_out)
        return shortcuts.Projection(*shape, after, bias=model.biases)
    if kind in ("scaled", "scaled_both"):
        return shortcuts.Scaled(*shape, both=kind == "scaled_both")
    if kind in ("gated", "gated_shortcut"):
        return shortcuts.Gated(*shape, model.gate_bias, exclusive=kind == "gated")
    if kind == "dropout":
        return shortcuts.Dropped(*shape)
    return shortcuts.Identity(*shape)
