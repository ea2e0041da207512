from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
