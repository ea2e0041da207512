"""Costs of an arm, counted once with fvcore in eval mode: MACs, parameters, activations."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from ablations.config import ResNet

# What fvcore counts, apart: multiply-adds of convolutions and linear layers, and the arithmetic of norms.
MACS = ("conv", "linear", "addmm", "matmul", "bmm", "einsum")
NORMS = ("batch_norm", "layer_norm", "group_norm", "instance_norm")


COLUMNS = ("macs", "norm_ops", "parameters", "activations")


@dataclass(frozen=True)
class Cost:
    """Of one image: `macs` are fused multiply-adds of convolutions and linear layers; `norm_ops` what fvcore
    adds for normalisation (2 an element for batch norm in eval mode); `activations` the elements that
    convolutions and linear layers put out (Radosavovic et al. 2020, arXiv:2003.13678, section 3.1);
    `parameters` all trained numbers, those of norms included."""

    macs: int
    norm_ops: int
    parameters: int
    activations: int


def count(model: ResNet, shape: tuple[int, int, int], classes: int) -> Cost:
    """The cost of a network for images of `shape` (channels, height, width)."""
    import warnings

    import torch

    with warnings.catch_warnings():  # fvcore decorates its losses with the deprecated torch.jit.script
        warnings.simplefilter("ignore", FutureWarning)
        from fvcore.nn import ActivationCountAnalysis, FlopCountAnalysis

    from ablations.models import build

    # A copy in eval mode: traced in training mode the count would differ and batch statistics would move.
    net = copy.deepcopy(build(model, shape[0], classes)).eval()
    image = torch.zeros(1, *shape)
    by_operator = FlopCountAnalysis(net, image).unsupported_ops_warnings(False).by_operator()
    unknown = set(by_operator) - {*MACS, *NORMS, "adaptive_avg_pool2d"}
    if unknown:
        raise NotImplementedError(f"fvcore counts {', '.join(sorted(unknown))}: say in cost.py what it is")
    activations = ActivationCountAnalysis(net, image).unsupported_ops_warnings(False).total()
    return Cost(
        macs=int(sum(by_operator[name] for name in MACS)),
        norm_ops=int(sum(by_operator[name] for name in NORMS)),
        parameters=sum(parameter.numel() for parameter in net.parameters()),
        activations=int(activations),
    )
