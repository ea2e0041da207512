from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ablations.config import ResNet
from ablations.models import build
from ablations.models.blocks import Block
from ablations.models.shortcuts import Identity


def parameters(net):
    return sum(parameter.numel() for parameter in net.parameters())


# He et al. 2015, table 6, counted exactly: option A, 3 channels, 10 classes, batch norm's affine included.
@pytest.mark.parametrize(
    ("depth", "count"), [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962)]
)
@pytest.mark.parametrize("shortcut", ["identity", "none"])
def test_parameters_equal_the_papers(depth, count, shortcut):
    assert parameters(build(ResNet(depth=depth, shortcut=shortcut), 3, 10)) == count


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 4),
    st.sampled_from(["none", "identity"]),
    st.tuples(*[st.integers(1, 9)] * 3).map(sorted).map(tuple),
    st.sampled_from([(1, 8), (3, 13), (3, 32)]),
)
def test_every_network_maps_images_to_logits_and_learns(n, shortcut, widths, shape):
    net = build(ResNet(depth=6 * n + 2, shortcut=shortcut, widths=widths), shape[0], 5)
    logits = net(torch.randn(4, shape[0], shape[1], shape[1]))
    assert logits.shape == (4, 5)
    logits.square().sum().backward()
    assert all(
        parameter.grad is not None and parameter.grad.isfinite().all() for parameter in net.parameters()
    )
    weighted = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(weighted) == 6 * n + 2


def test_option_a_takes_every_second_pixel_and_adds_zero_channels():
    x = torch.randn(2, 3, 6, 6)
    out = Identity(3, 5, 2)(x)
    assert torch.equal(out[:, :3], x[:, :, ::2, ::2])
    assert out.shape == (2, 5, 3, 3) and not out[:, 3:].any()
    assert Identity(3, 3, 1)(x) is x


class Zero(nn.Module):
    def forward(self, x):
        return torch.zeros_like(x)


def test_with_a_zero_transform_a_residual_block_is_the_identity_on_what_relu_passes():
    x = torch.rand(2, 4, 3, 3, requires_grad=True)
    out = Block(Zero(), Identity(4, 4, 1))(x)
    assert torch.equal(out, x)
    out.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))  # the identity term of the Jacobian


def test_plain_and_residual_start_from_the_same_weights():
    nets = []
    for shortcut in ("none", "identity"):
        torch.manual_seed(0)
        nets.append(build(ResNet(depth=20, shortcut=shortcut), 3, 10).state_dict())
    assert all(torch.equal(a, b) for a, b in zip(nets[0].values(), nets[1].values(), strict=True))


def test_weights_have_the_variance_of_he_initialisation():
    net = build(ResNet(depth=20, widths=(64, 64, 64)), 64, 10)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            assert module.bias is None
            assert module.weight.var().item() == pytest.approx(2 / (9 * 64), rel=0.05)
