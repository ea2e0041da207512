"""Costs of an arm, counted once with fvcore in eval mode: MACs, parameters, activations."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from ablations.networks import Network

# What fvcore counts, apart: multiply-adds of convolutions and linear layers, and the arithmetic of norms.
MACS = ("conv", "linear", "addmm", "matmul", "mm", "bmm", "einsum", "attention")
NORMS = ("batch_norm", "layer_norm", "group_norm", "instance_norm")
# Counted by fvcore and left out here: an addition or interpolation an element, no weights.
OTHERS = ("adaptive_avg_pool2d", "upsample_nearest2d", "upsample_bilinear2d")


@dataclass(frozen=True)
class Cost:
    """Of one image: `macs` are fused multiply-adds of convolutions and linear layers (and of attention, in timm's
    transformers); `norm_ops` what fvcore adds for normalisation (2 an element for batch norm in eval mode);
    `activations` the elements that convolutions and linear layers put out (Radosavovic et al. 2020,
    arXiv:2003.13678, section 3.1); `parameters` all trained numbers, those of norms included."""

    macs: int
    norm_ops: int
    parameters: int
    activations: int


def count(model: Network, shape: tuple[int, int, int], classes: int) -> Cost:
    """The cost of a network for images of `shape` (channels, height, width)."""
    import warnings

    import torch

    with warnings.catch_warnings():  # fvcore decorates its losses with the deprecated torch.jit.script
        warnings.simplefilter("ignore", FutureWarning)
        from fvcore.nn import ActivationCountAnalysis, FlopCountAnalysis

    from ablations.models import build

    # Traced in training mode, fvcore would count more for batch norm.
    net = build(model, shape, classes).eval()
    image = torch.zeros(1, *shape)
    flops = FlopCountAnalysis(net, image).set_op_handle("aten::scaled_dot_product_attention", attention)
    by_operator = quiet(flops).by_operator()
    unknown = set(by_operator) - {*MACS, *NORMS, *OTHERS}
    if unknown:
        raise NotImplementedError(f"fvcore counts {', '.join(sorted(unknown))}: say in cost.py what it is")
    activations = quiet(ActivationCountAnalysis(net, image)).total()
    return Cost(
        macs=int(sum(by_operator[name] for name in MACS)),
        norm_ops=int(sum(by_operator[name] for name in NORMS)),
        parameters=sum(parameter.numel() for parameter in net.parameters()),
        activations=int(activations),
    )


def quiet(analysis: Any) -> Any:
    """Without warnings on what it does not count, and on layers that do nothing in eval mode."""
    return analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)


def attention(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """The two matrix products of fused attention, which fvcore does not know: queries [..., n, d] with keys
    [..., m, d], and what follows with values [..., m, v]."""
    queries, keys, values = (each.type().sizes() for each in inputs[:3])
    return Counter(attention=math.prod(queries[:-1]) * keys[-2] * (queries[-1] + values[-1]))
