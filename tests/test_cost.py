from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ablations.cost import Cost, count
from ablations.networks import ResNet


# Published MACs of convolutions and classifier at 32x32 (He et al. 2015, table 6's networks, option A).
@pytest.mark.parametrize(
    ("depth", "millions"), [(20, 40.55), (32, 68.86), (44, 97.17), (56, 125.49), (110, 252.89)]
)
def test_macs_equal_the_published(depth, millions):
    assert count(ResNet(depth=depth), (3, 32, 32), 10).macs == pytest.approx(millions * 1e6, rel=1e-3)


def by_hand(model: ResNet, channels: int, size: int, classes: int) -> Cost:
    """The same cost from the layer formulas: k^2 * in * out * height * width for a convolution, in * out for
    the classifier; batch norm costs 2 an element in eval mode and has 2 parameters a channel."""
    macs = norm = parameters = activations = 0

    def conv(width_in, width_out, size):
        nonlocal macs, norm, parameters, activations
        macs += 9 * width_in * width_out * size**2
        norm += 2 * width_out * size**2
        parameters += 9 * width_in * width_out + 2 * width_out
        activations += width_out * size**2

    width = model.widths[0]
    conv(channels, width, size)
    for stage, stage_width in enumerate(model.widths):
        for block in range((model.depth - 2) // 6):
            size = (size + 1) // 2 if stage and not block else size
            conv(width, stage_width, size)
            conv(stage_width, stage_width, size)
            width = stage_width
    return Cost(macs + width * classes, norm, parameters + width * classes + classes, activations + classes)


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 3),
    st.sampled_from(["none", "identity"]),
    st.tuples(*[st.integers(1, 20)] * 3).map(sorted).map(tuple),
    st.sampled_from([1, 3]),
    st.sampled_from([8, 15, 32]),
    st.integers(2, 100),
)
def test_fvcore_agrees_with_the_layer_formulas(n, shortcut, widths, channels, size, classes):
    model = ResNet(depth=6 * n + 2, shortcut=shortcut, widths=widths)
    assert count(model, (channels, size, size), classes) == by_hand(model, channels, size, classes)


# ------------------------------------------------------------------------------------------ lecture notes


@pytest.fixture
def macs_of(monkeypatch):
    """Multiply-adds of a layer, on the way of every network."""

    def macs(net: nn.Module, *shape: int) -> int:
        monkeypatch.setattr("ablations.models.build", lambda *_: net)
        return count(None, shape, 0).macs

    return macs


def test_a_reduction_by_1x1_makes_a_5x5_convolution_ten_times_cheaper(macs_of):
    """An Inception module's example: 28x28x192 to 28x28x32 directly, and by way of 16 channels."""
    direct = macs_of(nn.Conv2d(192, 32, 5, padding=2), 192, 28, 28)
    reduced = macs_of(nn.Sequential(nn.Conv2d(192, 16, 1), nn.Conv2d(16, 32, 5, padding=2)), 192, 28, 28)
    assert (direct, reduced) == (120_422_400, 2_408_448 + 10_035_200)
    assert (round(direct / 1e6), round(reduced / 1e6, 1)) == (120, 12.4)


@pytest.mark.parametrize("groups", [2, 4, 32, 64])
def test_groups_divide_the_cost_of_a_convolution(groups, macs_of):
    full, grouped = (macs_of(nn.Conv2d(64, 64, 3, padding=1, groups=g), 64, 14, 14) for g in (1, groups))
    assert full == 9 * 64 * 64 * 14 * 14 and grouped == full // groups


def test_a_separable_convolution_costs_its_share_of_a_full_one(macs_of):
    """1/N + 1/k^2 (Howard et al. 2017, section 3.1), for N channels out."""
    full = macs_of(nn.Conv2d(32, 64, 3, padding=1), 32, 14, 14)
    pair = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1, groups=32), nn.Conv2d(32, 64, 1))
    assert macs_of(pair, 32, 14, 14) / full == pytest.approx(1 / 64 + 1 / 9)


def test_two_3x3_convolutions_cost_less_than_a_5x5_of_equal_sight(macs_of):
    """2 * 9 against 25 times the square of the channels (Simonyan & Zisserman 2015, section 2.3)."""
    five = macs_of(nn.Conv2d(16, 16, 5, padding=2), 16, 14, 14)
    threes = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1))
    assert macs_of(threes, 16, 14, 14) / five == pytest.approx(18 / 25)
