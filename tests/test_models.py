from __future__ import annotations

import copy
from dataclasses import asdict

import pytest
import torch
import torchvision
from conftest import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from test_studies import cost
from torch import nn

from ablations.cost import count
from ablations.models import build, effective_weights
from ablations.models.blocks import Bias, Block
from ablations.models.convolutions import Conv2d
from ablations.models.norms import norm
from ablations.models.regularisation import DropConnectConv2d, Dropout, set_active
from ablations.models.shortcuts import Gated, Identity, Scaled
from ablations.networks import (
    BLOCKS,
    EXPANSION,
    INITIALISATIONS,
    ORDERS,
    SHORTCUTS,
    VGG,
    DenseNet,
    LeNet,
    MobileNet,
    ResNet,
)

CIFAR, IMAGENET = (3, 32, 32), (3, 224, 224)


def parameters(model, shape=CIFAR, classes=10):
    return sum(parameter.numel() for parameter in build(model, shape, classes).parameters())


def wide(n, width):
    """WRN of n blocks a stage, k = width / 16."""
    widths = (width, 2 * width, 4 * width)
    return ResNet(blocks=(n, n, n), order="pre", shortcut="projection", stem_width=16, widths=widths)


def imagenet(blocks, **options):
    return ResNet(blocks=blocks, widths=(64, 128, 256, 512), stem="conv7", shortcut="projection", **options)


RESNEXT_29 = ResNet(
    depth=29,
    block="bottleneck",
    shortcut="projection",
    widths=(64, 128, 256),
    cardinality=8,
    inner=512,
    stride="conv3",
)
FIXUP = {"depth": 20, "initialisation": "fixup", "norm": "none"}
PREACT_164 = ResNet(depth=164, block="bottleneck", order="pre", shortcut="projection")


# Counted exactly, batch norm's affine included. He et al. 2015, table 6, options A and B; Zagoruyko & Komodakis
# 2016, table 4; Xie et al. 2017, table 7; Huang et al. 2017, table 2. PreAct-164 is counted from the authors' own
# code (resnet-1k-layers), which has one batch norm between stem and first block.
@pytest.mark.parametrize(
    ("model", "expected"),
    [
        *[
            (ResNet(depth=d), n)
            for d, n in ((20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962))
        ],
        *[
            (ResNet(depth=d, shortcut="projection"), n)
            for d, n in ((20, 272_474), (32, 466_906), (44, 661_338), (56, 855_770), (110, 1_730_714))
        ],
        (PREACT_164, 1_703_258),
        (wide(6, 16), 563_930),
        (wide(6, 32), 2_243_546),
        (wide(6, 64), 8_949_210),
        (wide(3, 128), 17_158_106),
        (RESNEXT_29, 34_426_698),
        (DenseNet(depth=40), 1_019_722),
        (DenseNet(depth=100, bottleneck=True, compression=0.5), 769_162),
    ],
)
def test_parameters_equal_the_papers(model, expected):
    assert parameters(model) == expected
    if model.family == "resnet" and model.shortcut == "identity":
        assert parameters(model.model_copy(update={"shortcut": "none"})) == expected


# As many digits as are given: within 0.1 % from 0.5 G on; those of He et al. 2015 are in test_cost.py.
@pytest.mark.parametrize(
    ("model", "giga"),
    [
        (wide(6, 16), 0.083),
        (wide(6, 32), 0.328),
        (wide(6, 64), 1.299),
        (wide(3, 128), 2.454),
        (RESNEXT_29, 5.387),
        (DenseNet(depth=40), 0.265),
        (DenseNet(depth=100, bottleneck=True, compression=0.5), 0.288),
    ],
)
def test_macs_equal_the_papers(model, giga):
    assert count(model, CIFAR, 10).macs / 1e9 == pytest.approx(giga, abs=5e-4)


PEERS = {
    "resnet18": imagenet((2, 2, 2, 2)),
    "resnet34": imagenet((3, 4, 6, 3)),
    "resnet50": imagenet((3, 4, 6, 3), block="bottleneck", stride="conv3"),
    "resnet101": imagenet((3, 4, 23, 3), block="bottleneck", stride="conv3"),
    "resnet152": imagenet((3, 8, 36, 3), block="bottleneck", stride="conv3"),
    "resnext50_32x4d": imagenet((3, 4, 6, 3), block="bottleneck", stride="conv3", cardinality=32, inner=128),
    "wide_resnet50_2": imagenet((3, 4, 6, 3), block="bottleneck", stride="conv3", inner=128),
    "densenet121": DenseNet(
        blocks=(6, 12, 24, 16), growth_rate=32, bottleneck=True, compression=0.5, stem="conv7"
    ),
}


@pytest.mark.parametrize("name", PEERS)
def test_imagenet_networks_have_torchvisions_cost(name):
    meta = torchvision.models.get_model_weights(name).IMAGENET1K_V1.meta
    with torch.device("meta"):
        assert parameters(PEERS[name], IMAGENET, 1000) == meta["num_params"]


@pytest.fixture
def undrawn(monkeypatch):
    """Weights as memory has them: a count needs no draws, and those of large networks take seconds."""
    monkeypatch.setattr(nn.init, "kaiming_normal_", lambda weight, **_: weight)
    monkeypatch.setattr(nn.init, "kaiming_uniform_", lambda weight, **_: weight)


@pytest.mark.parametrize("name", PEERS)
def test_imagenet_networks_have_torchvisions_macs(name, undrawn):
    meta = torchvision.models.get_model_weights(name).IMAGENET1K_V1.meta
    assert count(PEERS[name], IMAGENET, 1000).macs / 1e9 == pytest.approx(meta["_ops"], abs=5e-4)


# Table 1 of He et al. 2015, in multiply-adds: only the stride in the first 1x1 gives its figures. Option A for 18
# and 34 layers, B for more.
@pytest.mark.parametrize(
    ("blocks", "options", "giga"),
    [
        ((2, 2, 2, 2), {"shortcut": "identity"}, 1.795),
        ((3, 4, 6, 3), {"shortcut": "identity"}, 3.644),
        ((3, 4, 6, 3), {"block": "bottleneck"}, 3.858),
        ((3, 4, 23, 3), {"block": "bottleneck"}, 7.570),
        ((3, 8, 36, 3), {"block": "bottleneck"}, 11.282),
    ],
)
def test_macs_of_the_first_version_of_imagenets_networks(blocks, options, giga, undrawn):
    model = ResNet(**{**imagenet(blocks).model_dump(), **options})
    assert count(model, IMAGENET, 1000).macs / 1e9 == pytest.approx(giga, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "millions"),
    [("resnet18", 11), ("resnet34", 21), ("resnet50", 25), ("resnet101", 44), ("resnet152", 60)],
)
def test_millions_of_parameters_as_textbooks_list_them(name, millions):
    with torch.device("meta"):
        assert parameters(PEERS[name], IMAGENET, 1000) // 10**6 == millions


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnext50_32x4d", "densenet121"])
def test_with_torchvisions_weights_outputs_agree(name):
    """Weights go over in the order of definition: within a block, torchvision names the shortcut last, as we do."""
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(name, num_classes=10).eval()
    ours = build(PEERS[name], IMAGENET, 10).eval()
    for module in theirs.modules():  # running statistics that are not trivial
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    state = dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True))
    ours.load_state_dict(state)
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected, got = theirs(images), ours(images)
    assert torch.allclose(got, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


# ------------------------------------------------------------------------------------------ any configuration


@st.composite
def residual(draw):
    block = draw(st.sampled_from(sorted(BLOCKS)))
    options = {
        "blocks": draw(st.sampled_from([(1,), (2, 1), (1, 1, 1)])),
        "block": block,
        "shortcut": draw(st.sampled_from(sorted(SHORTCUTS))),
        "norm": draw(st.sampled_from(["batch", "layer", "layer_pixel", "group", "instance", "none"])),
        "order": draw(st.sampled_from(sorted(ORDERS))),
        "groups": 2,
        "stem": draw(st.sampled_from(["conv3", "conv7"])),
        "stride": draw(st.sampled_from(["first", "conv3"])),
        "initialisation": draw(st.sampled_from(sorted(INITIALISATIONS))),
        "weights": draw(st.sampled_from(["direct", "product"])),
        "dropout": draw(st.sampled_from([0.0, 0.3])),
        "spatial_dropout": draw(st.sampled_from([0.0, 0.3])),
        "drop_connect": draw(st.sampled_from([0.0, 0.3])),
        "stochastic_depth": draw(st.sampled_from([0.0, 0.5])),
        "depth_mode": draw(st.sampled_from(["batch", "sample"])),
        "tied": draw(st.booleans()),
        "step_size": draw(st.sampled_from([1.0, 0.1])),
    }
    options["widths"] = (4, 8, 8)[: len(options["blocks"])]
    if block == "bottleneck":
        options |= {"cardinality": 2, "inner": draw(st.sampled_from([4, 8]))}
    if options["norm"] == "batch" or draw(st.integers(0, 9)) == 9:
        options["norm_momentum"] = draw(st.sampled_from([0.1, 0.5, 1.0]))
    if options["initialisation"] == "fixup" and draw(st.integers(0, 9)) < 9:  # seldom possible by chance
        shortcut = draw(st.sampled_from(["identity", "projection", "projections"]))
        options |= {"norm": "none", "order": "post", "shortcut": shortcut}
        options.pop("norm_momentum", None)
    return options


def weighted_layers(model, shape, classes):
    """Of each convolution and linear layer of a definition, from the layer formulas: inputs of a unit, channels
    out, and pixels out."""
    channels, *size = shape

    def halved():
        return [(side + 1) // 2 for side in size]

    def convolution(channels_in, channels_out, kernel, groups=1):
        return kernel**2 * channels_in // groups, channels_out, size[0] * size[1]

    if model.stem == "conv7":
        size = halved()
    yield convolution(channels, model.stem_channels, 7 if model.stem == "conv7" else 3)
    if model.stem == "conv7":
        size = halved()
    before, kernels = model.stem_channels, BLOCKS[model.block]
    for stage, place in ((s, p) for s, blocks in enumerate(model.stage_blocks) for p in range(blocks)):
        width, inner = model.widths[stage], model.inner_widths[stage]
        after = width * EXPANSION.get(model.block, 1)
        halves = stage > 0 and place == 0
        channels_in = before
        for i, kernel in enumerate(kernels):
            bottleneck = model.block == "bottleneck"
            channels_out = (inner, inner, after)[i] if bottleneck else width
            if halves and i == (kernels.index(3) if model.stride == "conv3" else 0):
                size = halved()
            yield convolution(channels_in, channels_out, kernel, model.cardinality if kernel == 3 else 1)
            channels_in = channels_out
        gated = model.shortcut in ("gated", "gated_shortcut")
        changes = halves or before != after
        if gated or model.shortcut == "projections" or (model.shortcut == "projection" and changes):
            yield convolution(before, after, 1)
        before = after
    yield before, classes, 1


@pytest.mark.parametrize("channels", [1, 3, 4, 7, 8, 15, 16])
def test_strided_pointwise_convolutions_have_the_gradients_of_their_sums(channels):
    """With channels last in memory and one thread, where oneDNN's own kernel writes past its buffer."""
    torch.manual_seed(0)
    layer = Conv2d(channels, 8, 1, stride=2, bias=False)
    images = torch.randn(8, channels, 9, 8).to(memory_format=torch.channels_last).requires_grad_()
    outputs = layer(images)
    gradient = torch.randn_like(outputs)
    outputs.backward(gradient)
    read, gradient = images.detach()[:, :, ::2, ::2].double(), gradient.double()
    weight = layer.weight.detach()[:, :, 0, 0].double()
    expected = torch.einsum("nohw,nihw->oi", gradient, read)
    assert torch.allclose(layer.weight.grad[:, :, 0, 0].double(), expected, rtol=1e-5, atol=1e-5)
    assert torch.allclose(outputs.double(), torch.einsum("oi,nihw->nohw", weight, read), rtol=1e-5, atol=1e-5)
    passed = torch.einsum("oi,nohw->nihw", weight, gradient)
    assert torch.allclose(images.grad[:, :, ::2, ::2].double(), passed, rtol=1e-5, atol=1e-5)
    assert images.grad[:, :, 1::2].count_nonzero() == images.grad[:, :, :, 1::2].count_nonzero() == 0


@examples(40)
@given(residual())
def test_any_combination_is_refused_with_a_reason_or_trains_at_the_cost_of_its_layers(options):
    try:
        model = ResNet(**options)
    except ValidationError as error:
        assert "Value error" in str(error)
        return
    small = 8 if model.stem == "conv3" else 17  # of 1x1 pixels instance norm cannot read a single image
    for shape, classes in (((1, small, small), 10), ((3, 33, 29), 4)):
        net = build(model, shape, classes)
        logits = net(torch.randn(3, *shape))
        assert logits.shape == (3, classes) and logits.isfinite().all()
        logits.square().sum().backward()
        grads = [p.grad for p in net.parameters() if p.grad is not None]
        assert grads and all(grad.isfinite().all() for grad in grads)
        net.eval()
        same = torch.ones(2, *shape)
        assert torch.equal(net(same), net(same))  # nothing is drawn in eval mode
        cost, layers = count(model, shape, classes), list(weighted_layers(model, shape, classes))
        assert cost.macs == sum(inputs * channels * pixels for inputs, channels, pixels in layers)
        assert cost.activations == sum(channels * pixels for _, channels, pixels in layers)


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 8),
    st.booleans(),
    st.sampled_from([0.5, 1.0]),
    st.sampled_from([(1, 8, 8), (3, 32, 32)]),
)
def test_any_densenet_trains(n, growth_rate, bottleneck, compression, shape):
    depth = (6 if bottleneck else 3) * n + 4
    model = DenseNet(depth=depth, growth_rate=growth_rate, bottleneck=bottleneck, compression=compression)
    net = build(model, shape, 5)
    net(torch.randn(2, *shape)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    weighted = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(weighted) == depth
    channels, height, width = shape
    for size in (shape, (channels, 2 * height, width)):  # fvcore against the shapes of the layers
        assert cost(model, size, 5).items() <= asdict(count(model, size, 5)).items()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"depth": 21, "block": "bottleneck"},
            "9n \\+ 2 layers, n >= 1; found depth 21; valid near it: 20 and 29",
        ),
        ({}, "give `depth` or `blocks`"),
        ({"depth": 8, "blocks": (1, 1, 1)}, "give `depth` or `blocks`"),
        ({"blocks": (1, 1)}, "`blocks` has 2 stages, `widths` 3"),
        ({"depth": 8, "cardinality": 4}, "belong to the bottleneck"),
        ({"depth": 11, "block": "bottleneck", "cardinality": 3}, "cardinality 3 does not divide"),
        ({"depth": 8, "norm": "group", "groups": 3}, "3 groups of group norm do not divide"),
        ({"depth": 8, "shortcut": "none", "stochastic_depth": 0.5}, "needs a shortcut"),
        ({"depth": 8, "norm": "layer", "norm_momentum": 0.2}, "`norm_momentum` belongs to batch norm"),
        ({"depth": 8, "norm_momentum": 0.0}, "greater than 0"),
        ({"depth": 8, "shortcut": "none", "initialisation": "skipinit"}, "skipinit needs a shortcut"),
        ({**FIXUP, "shortcut": "none"}, "fixup needs a shortcut"),
        ({**FIXUP, "norm": "batch"}, "fixup takes the place of a norm: norm none, found batch"),
        ({**FIXUP, "shortcut": "scaled"}, "identity or projection shortcut, found scaled"),
        ({**FIXUP, "order": "pre"}, "order post, found pre"),
        ({**FIXUP, "block": "single"}, "before a transform's last: single has none"),
    ],
)
def test_impossible_networks_say_why(options, told):
    with pytest.raises(ValidationError, match=told):
        ResNet(**options)


def test_impossible_densenets_say_which_are_valid():
    with pytest.raises(ValidationError, match=r"3n \+ 4 layers; found depth 41; valid near it: 40 and 43"):
        DenseNet(depth=41)
    with pytest.raises(ValidationError, match=r"6n \+ 4 layers; found depth 9; valid near it: 10"):
        DenseNet(depth=9, bottleneck=True)


# ------------------------------------------------------------------------------------------ parts


def test_option_a_takes_every_second_pixel_and_adds_zero_channels():
    x = torch.randn(2, 3, 6, 6)
    out = Identity(3, 5, 2)(x, None)
    assert torch.equal(out[:, :3], x[:, :, ::2, ::2])
    assert out.shape == (2, 5, 3, 3) and not out[:, 3:].any()
    assert Identity(3, 3, 1)(x, None) is x


def test_scaled_and_gated_shortcuts_by_hand():
    x, f = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    assert torch.allclose(Scaled(3, 3, 1, both=False)(x, f), 0.5 * x + f)
    assert torch.allclose(Scaled(3, 3, 1, both=True)(x, f), 0.5 * (x + f))
    for exclusive in (True, False):
        gated = Gated(3, 3, 1, -6.0, exclusive)
        g = torch.sigmoid(torch.nn.functional.conv2d(x, gated.gate.weight, gated.gate.bias) - 6)
        assert torch.allclose(gated(x, f), (1 - g) * x + (g * f if exclusive else f), atol=1e-6)


class Zero(nn.Module):
    def forward(self, x):
        return torch.zeros_like(x)


def test_with_a_zero_transform_a_residual_block_is_the_identity_on_what_relu_passes():
    x = torch.rand(2, 4, 3, 3, requires_grad=True)
    out = Block(Zero(), Identity(4, 4, 1), nn.ReLU())(x)
    assert torch.equal(out, x)
    out.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))  # the identity term of the Jacobian


def test_the_gradient_of_a_residual_stack_contains_the_identity_term():
    """d out / d x = prod (1 + f_l') for scalar transforms f_l(x) = w_l x (He et al. 2016, eq. 5)."""
    factors = [0.3, -0.2, 0.7]
    blocks = [Block(nn.Conv2d(1, 1, 1, bias=False), Identity(1, 1, 1), nn.Identity()) for _ in factors]
    for block, factor in zip(blocks, factors, strict=True):
        nn.init.constant_(block.transform.weight, factor)
    x = torch.ones(1, 1, 1, 1, requires_grad=True)
    nn.Sequential(*blocks)(x).sum().backward()
    assert x.grad.item() == pytest.approx(1.3 * 0.8 * 1.7)


def test_skipinit_starts_as_the_identity():
    net = build(ResNet(depth=8, norm="none", initialisation="skipinit", widths=(4, 4, 4)), (4, 8, 8), 3)
    x = torch.rand(2, 4, 8, 8)
    block = next(module for module in net.modules() if isinstance(module, Block))
    assert torch.equal(block(x), x)


def test_identity_initialisation_makes_added_plain_layers_pass_their_input_on():
    model = ResNet(depth=8, shortcut="none", norm="none", initialisation="identity", widths=(4, 4, 4))
    block = next(module for module in build(model, (4, 8, 8), 3).modules() if isinstance(module, Block))
    x = torch.rand(2, 4, 8, 8)
    assert torch.allclose(block(x), x)


def test_plain_and_residual_start_from_the_same_weights():
    nets = []
    for shortcut in ("none", "identity"):
        torch.manual_seed(0)
        nets.append(build(ResNet(depth=20, shortcut=shortcut), CIFAR, 10).state_dict())
    assert all(torch.equal(a, b) for a, b in zip(nets[0].values(), nets[1].values(), strict=True))


def test_weights_have_the_variance_of_he_initialisation():
    net = build(ResNet(depth=20, widths=(64, 64, 64)), (64, 8, 8), 10)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            assert module.bias is None
            assert module.weight.var().item() == pytest.approx(2 / (9 * 64), rel=0.05)


@pytest.mark.parametrize(
    ("initialisation", "variance"),
    [("xavier", lambda fan_in, fan_out: 2 / (fan_in + fan_out)), ("small", lambda *_: 1e-4)],
)
def test_weights_have_the_variance_of_the_other_draws(initialisation, variance):
    torch.manual_seed(0)
    model = ResNet(
        blocks=(2, 2),
        block="bottleneck",
        widths=(32, 64),
        inner=64,
        cardinality=4,
        initialisation=initialisation,
        norm="none",
    )
    for module in build(model, (32, 8, 8), 50).modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            units_in, units_out = module.weight.shape[1::-1]
            convolution = isinstance(module, nn.Conv2d)
            area, groups = (module.weight[0, 0].numel(), module.groups) if convolution else (1, 1)
            expected = variance(area * units_in, area * units_out / groups)
            assert module.weight.var().item() == pytest.approx(expected, rel=0.1)
            assert not module.bias.any()


@pytest.mark.parametrize("norm_kind", ["batch", "none"])
def test_biases_are_off_before_a_norm_and_on_without(norm_kind):
    net = build(ResNet(depth=8, norm=norm_kind), CIFAR, 10)
    assert all((m.bias is None) == (norm_kind == "batch") for m in net.modules() if isinstance(m, nn.Conv2d))


# ------------------------------------------------------------------------------------------ Fixup


def blocks_of(net):
    return [layer for layer in net if isinstance(layer, Block)]


@pytest.mark.parametrize("shortcut", ["identity", "projection"])
def test_fixup_starts_with_logits_of_zero_and_blocks_that_are_the_identity(shortcut):
    net = build(ResNet(**FIXUP, shortcut=shortcut), CIFAR, 10)
    assert not net(torch.randn(2, *CIFAR)).any()
    blocks = blocks_of(net)
    for i, block in enumerate(blocks):
        if i not in (3, 6):  # those change the shape
            x = torch.rand(2, (16, 32, 64)[i // 3], 8, 8)
            assert torch.equal(block(x), x)
    x = torch.rand(2, 16, 8, 8)
    assert torch.equal(blocks[3](x), blocks[3].shortcut(x, None).relu())


@pytest.mark.parametrize(
    ("fields", "scale"),
    [
        ({"depth": 56}, 27 ** (-1 / 2)),
        ({"depth": 56, "tied": True}, 27 ** (-1 / 2)),
        ({"depth": 83, "block": "bottleneck"}, 27 ** (-1 / 4)),
        ({"depth": 50, "block": "quadruple"}, 12 ** (-1 / 6)),
    ],
)
def test_fixup_scales_by_the_number_of_blocks_and_of_their_layers(fields, scale):
    torch.manual_seed(0)
    model = ResNet(norm="none", initialisation="fixup", widths=(32, 32, 32), shortcut="projection", **fields)
    net = build(model, CIFAR, 10)
    ratios = []
    for block in blocks_of(net):
        *others, last = (layer for layer in block.transform if isinstance(layer, nn.Conv2d))
        assert not last.weight.any()
        for layer in others:
            ratios.append(layer.weight.std().item() / (2 / layer.weight[0].numel()) ** 0.5)
            assert ratios[-1] == pytest.approx(scale, rel=0.15)
        if hasattr(block.shortcut, "path") and isinstance(block.shortcut.path, nn.Sequential):  # not scaled
            weight = block.shortcut.path[0].weight
            assert weight.std().item() == pytest.approx((2 / weight[0].numel()) ** 0.5, rel=0.15)
    assert sum(ratios) / len(ratios) == pytest.approx(scale, rel=0.02)
    assert net[0].weight.std().item() == pytest.approx((2 / 27) ** 0.5, rel=0.1)


def test_parameters_of_fixup():
    """Weights of ResNet-20 without batch norm's 2 x 688; a factor and four biases in each of nine blocks, a bias
    before the stem's ReLU and one before the classifier, as in the authors' code (fixup_resnet_cifar.py). A
    bottleneck has six biases."""
    assert parameters(ResNet(**FIXUP)) == 269_722 - 2 * 688 + 9 * 5 + 2
    net = build(ResNet(**FIXUP, shortcut="projection"), CIFAR, 10)
    assert sum(isinstance(module, Bias) for module in net.modules()) == 9 * 4 + 2
    assert sum(p.numel() for p in net.parameters()) == 269_722 - 2 * 688 + 9 * 5 + 2 + 16 * 32 + 32 * 64
    assert all(m.bias is None for m in net.modules() if isinstance(m, nn.Conv2d))
    bottleneck = build(ResNet(**{**FIXUP, "depth": 11, "block": "bottleneck"}), CIFAR, 10)
    assert sum(isinstance(module, Bias) for module in bottleneck.modules()) == 3 * 6 + 2


def test_fixup_has_finite_gradients_at_depth_110_and_learns():
    torch.manual_seed(0)
    net = build(ResNet(**{**FIXUP, "depth": 110}, widths=(8, 8, 8)), (1, 8, 8), 5)
    images, labels = torch.randn(10, 1, 8, 8), torch.arange(10) % 5
    losses = descend(net, images, labels, 0.05, steps=15)
    assert all(p.grad.isfinite().all() for p in net.parameters())
    assert all(block.gain.grad for block in blocks_of(net))
    assert losses[-1] < losses[0]


def descend(net, images, labels, rate, steps):
    """Losses on the way of plain gradient descent."""
    losses = []
    for _ in range(steps):
        loss = nn.functional.cross_entropy(net(images), labels)
        net.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in net.parameters():
                parameter -= rate * parameter.grad
        losses.append(loss.item())
    return losses


# ------------------------------------------------------------------------------------------ weights as products


@pytest.mark.parametrize(
    "fields",
    [
        {"depth": 8},
        {"depth": 8, "shortcut": "gated", "norm": "none", "initialisation": "skipinit"},
        {"depth": 14, "tied": True, "initialisation": "xavier", "drop_connect": 0.2},
        {"depth": 11, "block": "bottleneck", "cardinality": 2, "shortcut": "projection"},
        {"depth": 8, "norm": "layer", "initialisation": "small"},
        {"depth": 8, "initialisation": "identity"},
    ],
    ids=str,
)
def test_products_start_as_the_function_of_direct_weights_and_learn(fields):
    nets = []
    for weights in ("direct", "product"):
        torch.manual_seed(0)
        nets.append(build(ResNet(weights=weights, **fields), CIFAR, 10))
    direct, product = nets
    images, labels = torch.randn(4, *CIFAR), torch.arange(4)
    for one, other in zip(effective_weights(direct), effective_weights(product), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-6, atol=0)
    expected = direct.eval()(images)
    torch.testing.assert_close(product.eval()(images), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(copy.deepcopy(product)(images), expected, rtol=1e-4, atol=1e-5)
    extra = sum(weight.numel() for weight in effective_weights(direct))
    assert sum(p.numel() for p in product.parameters()) == extra + sum(p.numel() for p in direct.parameters())
    losses = descend(product.train(), images, labels, 0.01, steps=10)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in product.parameters())
    assert losses[-1] < losses[0]
    changed = zip(effective_weights(direct), effective_weights(product), strict=True)
    assert not any(torch.equal(one, other) for one, other in changed)


def test_products_cost_the_same_multiply_adds_and_two_numbers_a_weight():
    models = [ResNet(depth=8, weights=weights) for weights in ("direct", "product")]
    direct, product = (count(model, CIFAR, 10) for model in models)
    for model, counted in zip(models, (direct, product), strict=True):
        assert cost(model, CIFAR).items() <= asdict(counted).items()
    assert (product.macs, product.norm_ops, product.activations) == (
        direct.macs,
        direct.norm_ops,
        direct.activations,
    )
    net = build(ResNet(depth=8), CIFAR, 10)
    assert product.parameters - direct.parameters == sum(w.numel() for w in effective_weights(net))


def test_an_l2_penalty_on_factors_is_an_l1_penalty_on_their_product():
    """min (w - t)^2 / 2 + c |w| is at sign(t) max(|t| - c, 0): small weights end at zero, others c short of their
    target, whatever their sign was at the start."""
    target, strength = torch.tensor([[1.0, -0.6, 0.2, -0.1, 0.8]]), 0.3
    start = 0.5 * torch.tensor([[1.0, -1.0, 1.0, -1.0, -1.0]])
    layer = build(ResNet(depth=8, weights="product"), CIFAR, 10)[-1]
    with torch.no_grad():
        layer.weight = start  # as its factors
    factors = [p for name, p in layer.named_parameters() if ".original" in name]
    for _ in range(2000):
        fit = (layer.weight - target).square().sum() / 2
        penalty = sum(factor.square().sum() for factor in factors) / 2
        gradients = torch.autograd.grad(fit + strength * penalty, factors)
        with torch.no_grad():
            for factor, gradient in zip(factors, gradients, strict=True):
                factor -= 0.1 * gradient
    torch.testing.assert_close(layer.weight, torch.tensor([[0.7, -0.3, 0.0, 0.0, 0.5]]), rtol=0, atol=1e-4)


@pytest.mark.parametrize("model", [DenseNet(depth=7), LeNet(), VGG(), MobileNet(multiplier=0.25)], ids=repr)
def test_effective_weights_of_any_family_are_those_of_convolutions_and_linear_layers(model):
    net = build(model, CIFAR, 10)
    weights = effective_weights(net)
    assert {id(weight) for weight in weights} == {id(p) for p in net.parameters() if p.dim() > 1}


# ------------------------------------------------------------------------------------------ orders


# The order of the operations on a block's path (He et al. 2016, fig. 4). N a norm, R a ReLU, C a convolution, + the sum.
@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("post", "CNRCN+R"),
        ("norm_after_activation", "CRNCN+R"),
        ("norm_after_addition", "CNRC+NR"),
        ("relu_before_addition", "CNRCNR+"),
        ("relu_only_pre", "RCNRCN+"),
        ("pre", "NRCNRC+"),
    ],
)
def test_activation_orders(order, expected):
    net = build(ResNet(blocks=(2,), widths=(4,), order=order), (1, 8, 8), 3)
    block = [module for module in net.modules() if isinstance(module, Block)][1]
    letters = {Conv2d: "C", nn.BatchNorm2d: "N", nn.ReLU: "R", Identity: "+"}
    seen = []
    for module in block.modules():
        if type(module) in letters:
            module.register_forward_hook(lambda module, *_: seen.append(letters[type(module)]))
    net(torch.randn(2, 1, 8, 8))
    assert "".join(seen) == expected


# ------------------------------------------------------------------------------------------ norms


def test_batch_norm_is_the_textbooks_forward_and_backward():
    """Ioffe & Szegedy 2015, section 3: the chain rule through mean and variance, written out in float64."""
    torch.manual_seed(0)
    x = torch.randn(5, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(5, 3, 4, 4, dtype=torch.float64)
    layer = norm("batch", 3).double()
    nn.init.uniform_(layer.weight)
    nn.init.normal_(layer.bias)
    layer(x).backward(upstream)
    with torch.no_grad():
        axes, m, each = (0, 2, 3), 5 * 16, (1, 3, 1, 1)
        mean = x.mean(axes).view(each)
        variance = ((x - mean) ** 2).mean(axes).view(each)
        hat = (x - mean) / (variance + layer.eps).sqrt()
        assert torch.allclose(layer(x), layer.weight.view(each) * hat + layer.bias.view(each), atol=1e-10)
        d_hat = upstream * layer.weight.view(each)
        d_variance = (d_hat * (x - mean)).sum(axes).view(each) * -0.5 * (variance + layer.eps) ** -1.5
        d_mean = -(d_hat / (variance + layer.eps).sqrt()).sum(axes).view(each) + d_variance * (
            -2 * (x - mean)
        ).mean(axes).view(each)
        d_x = d_hat / (variance + layer.eps).sqrt() + d_variance * 2 * (x - mean) / m + d_mean / m
    assert torch.allclose(x.grad, d_x, atol=1e-10)
    assert torch.allclose(layer.bias.grad, upstream.sum(axes), atol=1e-10)
    assert torch.allclose(layer.weight.grad, (upstream * hat).sum(axes), atol=1e-10)


def test_running_averages_follow_the_documented_rule():
    """running = 0.9 running + 0.1 batch, the variance unbiased."""
    layer, x = norm("batch", 3).double(), torch.randn(6, 3, 2, 2, dtype=torch.float64)
    layer(x)
    assert torch.allclose(layer.running_mean, 0.1 * x.mean((0, 2, 3)))
    assert torch.allclose(layer.running_var, 0.9 + 0.1 * x.var((0, 2, 3), unbiased=True))


@pytest.mark.parametrize(
    "options", [{"shortcut": "projection"}, {"order": "pre", "block": "bottleneck"}], ids=str
)
def test_the_momentum_of_running_averages_reaches_every_batch_norm(options):
    momenta = {}
    for momentum in (None, 0.4):
        given_ = {} if momentum is None else {"norm_momentum": momentum}
        net = build(ResNet(blocks=(1, 1, 1), **given_, **options), CIFAR, 10)
        momenta[momentum] = [m.momentum for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(momenta[0.4]) > 6 and set(momenta[0.4]) == {0.4} and set(momenta[None]) == {0.1}


@pytest.mark.parametrize(
    ("kind", "axes"),
    [("layer", (1, 2, 3)), ("layer_pixel", (1,)), ("instance", (2, 3)), ("batch", (0, 2, 3))],
)
def test_what_each_norm_averages_over(kind, axes):
    out = norm(kind, 6)(3 + 5 * torch.randn(4, 6, 7, 7))
    assert torch.allclose(out.mean(axes), torch.zeros(()), atol=1e-5)
    assert torch.allclose(out.var(axes, unbiased=False), torch.ones(()), atol=1e-3)


@given(st.floats(0.5, 100))
def test_layer_norm_ignores_the_scale_of_its_input(scale):
    x = torch.randn(2, 4, 5, 5)
    for kind in ("layer", "layer_pixel", "instance", "group"):
        layer = norm(kind, 4, groups=2)
        layer.eps = 1e-12
        assert torch.allclose(layer(scale * x), layer(x), atol=1e-4)


@pytest.mark.parametrize("kind", ["layer", "layer_pixel", "group", "instance"])
def test_norms_but_batch_norm_do_not_see_the_other_images(kind):
    layer, x = norm(kind, 8), torch.randn(4, 8, 3, 3)
    assert torch.allclose(layer(x)[:1], layer(x[:1]), atol=1e-6)
    batch = norm("batch", 8)
    assert not torch.allclose(batch(x)[:1], batch(x[:1]), atol=1e-2)


# ------------------------------------------------------------------------------------------ regularisation


@pytest.mark.parametrize("mode", ["batch", "sample"])
def test_stochastic_depth_is_right_in_expectation_and_follows_the_linear_rule(mode):
    net = build(ResNet(depth=20, stochastic_depth=0.8, depth_mode=mode), CIFAR, 10)
    blocks = [module for module in net.modules() if isinstance(module, Block)]
    assert [b.drop_rate for b in blocks] == pytest.approx([0.8 * (i + 1) / 9 for i in range(9)])
    block, x = blocks[2].eval(), torch.rand(1, 16, 6, 6)
    expected = block.transform(x)
    block.training = True  # the block alone: its batch norms keep their averages
    block.activation = nn.Identity()
    torch.manual_seed(0)
    draws = torch.stack([block(x) - x for _ in range(3000)])
    assert torch.allclose(draws.mean(0), expected, atol=0.1 * expected.abs().max().item())
    kept = (draws.flatten(1).abs().sum(1) > 0).float().mean().item()
    assert kept == pytest.approx(1 - block.drop_rate, abs=0.03)


def test_a_dropped_block_is_skipped_and_keeps_its_weights_out_of_the_step():
    net = build(ResNet(blocks=(1,), widths=(4,), stochastic_depth=0.999), (1, 8, 8), 3)
    block = next(module for module in net.modules() if isinstance(module, Block))
    calls = []
    block.transform.register_forward_hook(lambda *_: calls.append(1))
    torch.manual_seed(0)
    net(torch.randn(2, 1, 8, 8)).sum().backward()
    assert not calls and all(p.grad is None for p in block.transform.parameters())


def test_dropping_stops_in_eval_mode_and_outside_its_part_of_the_training():
    model = ResNet(
        depth=8, dropout=0.5, spatial_dropout=0.5, drop_connect=0.5, stochastic_depth=0.5, norm="layer"
    )
    net, x = build(model, CIFAR, 10), torch.randn(2, *CIFAR)
    assert not torch.equal(net(x), net(x))
    set_active(net, False)
    assert torch.equal(net(x), net(x))
    set_active(net, True)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


@pytest.mark.parametrize("spatial", [False, True])
def test_dropout_keeps_the_expectation(spatial):
    torch.manual_seed(0)
    out = Dropout(0.3, spatial)(torch.ones(400, 50, 3, 3))
    assert out.mean().item() == pytest.approx(1, abs=0.02)
    assert (out == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)
    if spatial:
        assert ((out == 0).flatten(2).all(2) | (out > 0).flatten(2).all(2)).all()


def test_drop_connect_drops_weights():
    torch.manual_seed(0)
    layer = DropConnectConv2d(50, 50, 1, bias=False, rate=0.4)
    out = layer(torch.eye(50)[:, :, None, None]).squeeze()
    assert (out == 0).float().mean().item() == pytest.approx(0.4, abs=0.03)


def test_tied_blocks_are_those_whose_shortcut_is_the_bare_identity():
    net = build(ResNet(depth=26, order="pre", tied=True), CIFAR, 10)
    blocks = [module for module in net if isinstance(module, Block)]
    assert [block.pre is not None for block in blocks] == [True, False, False, False] * 3
    assert len({id(block) for block in blocks}) == 6


def test_tied_blocks_share_their_weights():
    tied, free = (ResNet(depth=20, tied=tied) for tied in (True, False))
    blocks = {module for module in build(tied, CIFAR, 10).modules() if isinstance(module, Block)}
    assert len(blocks) == 1 + 2 + 2  # the first of a later stage changes the shape
    assert count(tied, CIFAR, 10).macs == count(free, CIFAR, 10).macs
