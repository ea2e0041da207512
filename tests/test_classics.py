from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ablations.cost import count
from ablations.errors import UserError
from ablations.models import build
from ablations.networks import VGG, AlexNet, GoogLeNet, LeNet, MobileNet, Timm
from ablations.plan import identity

PAPER_VGG = {"hidden": (4096, 4096), "dropout": 0.5}
IMAGENET = (3, 224, 224)


@pytest.mark.parametrize(
    ("model", "weights"),
    [
        (VGG(norm="none", **PAPER_VGG), "VGG16_Weights"),
        (VGG(**PAPER_VGG), "VGG16_BN_Weights"),
        (GoogLeNet(stem="conv7"), "GoogLeNet_Weights"),
        (AlexNet(stem="conv11"), "AlexNet_Weights"),
        (Timm(model="resnet18"), "ResNet18_Weights"),
        (Timm(model="vit_base_patch16_224"), "ViT_B_16_Weights"),  # with fused attention
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_parameters_and_macs_equal_torchvisions(model, weights, monkeypatch):
    from torchvision import models

    for draw in ("kaiming_normal_", "kaiming_uniform_", "trunc_normal_"):  # 100 million numbers: seconds
        monkeypatch.setattr(nn.init, draw, lambda weight, **_: weight)
    published = models.get_weight(f"{weights}.DEFAULT").meta
    cost = count(model, IMAGENET, 1000)
    assert cost.parameters == published["num_params"]
    assert cost.macs == pytest.approx(published["_ops"] * 1e9, rel=1e-3)


# Howard et al. 2017, tables 4 and 6: million multiply-adds and million parameters.
@pytest.mark.parametrize(
    ("fields", "macs", "parameters"),
    [
        ({"separable": False}, 4866, 29.3),
        ({"multiplier": 1.0}, 569, 4.2),
        ({"multiplier": 0.75}, 325, 2.6),
        ({"multiplier": 0.5}, 149, 1.3),
        ({"multiplier": 0.25}, 41, 0.5),
    ],
)
def test_mobilenet_costs_what_the_paper_says(fields, macs, parameters):
    cost = count(MobileNet(stem_stride=2, **fields), IMAGENET, 1000)
    assert cost.macs / 1e6 == pytest.approx(macs, abs=1.5)
    assert round(cost.parameters / 1e6, 1) == parameters


@pytest.mark.parametrize(("size", "classes"), [(32, 10), (28, 10)])
def test_lenet_5_has_61706_parameters(size, classes):
    assert count(LeNet(), (1, size, size), classes).parameters == 61_706


def reference_of(name: str) -> nn.Module:
    """torchvision's network with random weights and running statistics, in eval mode."""
    from torchvision import models

    options = {"init_weights": False} if name != "alexnet" else {}
    options |= {"aux_logits": False} if name == "googlenet" else {}
    with torch.device("meta"):
        net = models.get_model(name, num_classes=10, **options)
    if name == "vgg16_bn":  # small hidden layers: 100 million numbers fewer to draw
        net.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)
        )
    net = net.to_empty(device="cpu").eval()
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.running_var):
                nn.init.uniform_(values, 0.5, 1.5)
            nn.init.normal_(module.running_mean)
        if getattr(module, "bias", None) is not None:
            nn.init.normal_(module.bias)
    return net


@pytest.mark.parametrize(
    ("name", "model", "size"),
    [
        ("vgg16_bn", VGG(hidden=(64, 32), dropout=0.5), 224),
        ("googlenet", GoogLeNet(stem="conv7"), 224),
        ("googlenet", GoogLeNet(stem="conv7"), 97),  # odd: where the poolings' windows reach over the edge
        ("alexnet", AlexNet(stem="conv11"), 224),
    ],
)
def test_with_torchvisions_weights_the_logits_are_its(name, model, size):
    torch.manual_seed(0)
    reference = reference_of(name)
    net = build(model, (3, size, size), 10).eval()
    net.load_state_dict(
        dict(zip(net.state_dict(), reference.state_dict().values(), strict=True))  # in the same order
    )
    with torch.no_grad():
        images = torch.randn(2, 3, size, size)
        expected, found = reference(images), net(images)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * expected.std().item())


FAMILIES = [
    LeNet(),
    LeNet(activation="relu"),
    AlexNet(hidden=(32,)),
    AlexNet(stem="conv11", hidden=(), multiplier=0.01),
    VGG(),
    VGG(norm="none", hidden=(16, 16), dropout=0.5, convolutions=(1, 1), widths=(4, 6)),
    GoogLeNet(),
    GoogLeNet(stem="conv7", dropout=0.0, multiplier=0.02),
    MobileNet(multiplier=0.25),
    MobileNet(stem_stride=2, separable=False, multiplier=0.1),
    Timm(model="resnet18"),
]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (2, 9, 21)], ids=str)
@pytest.mark.parametrize("model", FAMILIES, ids=repr)
def test_every_network_maps_images_to_logits_and_learns(model, shape):
    torch.manual_seed(0)
    net = build(model, shape, 5)
    logits = net(torch.randn(4, *shape))
    assert logits.shape == (4, 5)
    F.cross_entropy(logits, torch.arange(4)).backward()
    assert all(
        parameter.grad is not None and parameter.grad.isfinite().all() for parameter in net.parameters()
    )
    parameters = sum(parameter.numel() for parameter in net.parameters())
    cost = count(model, shape, 5)
    assert cost.parameters == parameters
    assert cost.macs > 0 and cost.activations > 0


@pytest.mark.parametrize(
    "model", [model for model in FAMILIES if not isinstance(model, Timm)], ids=repr
)  # timm's networks shrink as they were made
@pytest.mark.parametrize("size", [8, 11, 16, 28, 48, 64])
def test_no_step_leaves_fewer_than_two_by_two_pixels(model, size):
    sizes = []
    with torch.device("meta"):
        net = build(model, (1, size, size), 5).eval()
        for module in net.modules():
            if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
                module.register_forward_hook(lambda _, __, out: sizes.append(out.shape[-1]))
        net(torch.empty(1, 1, size, size))
    assert min(sizes) >= 2
    assert sizes[-1] < max(4, size / 2)  # and on the way they do shrink


def test_pooling_is_left_out_only_where_it_would_leave_too_little():
    pools = {
        size: sum(isinstance(module, nn.MaxPool2d) for module in build(VGG(), (3, size, size), 10))
        for size in (8, 16, 32, 64)
    }
    assert pools == {8: 2, 16: 3, 32: 4, 64: 5}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"convolutions": (1, 2)}, "`convolutions` has 2 stages, `widths` 5"),
        ({"convolutions": (), "widths": ()}, "at least one stage"),
        ({"convolutions": 2, "widths": ()}, "at least one stage"),
        ({"convolutions": 0}, "greater than 0"),
        ({"convolutions": True}, "valid tuple"),
        ({"convolutions": 2, "widths": (4, 0)}, "greater than 0"),
    ],
)
def test_vgg_refuses_stages_that_do_not_fit(fields, message):
    with pytest.raises(ValueError, match=message):
        VGG(**fields)


def test_one_number_of_convolutions_is_that_of_every_stage_and_the_same_network():
    model = VGG(convolutions=2, widths=(4, 6, 8))
    assert model == VGG(convolutions=(2, 2, 2), widths=(4, 6, 8))
    assert identity(model) == identity(VGG(convolutions=(2, 2, 2), widths=(4, 6, 8)))
    assert identity(VGG(convolutions=(2, 2, 3, 3, 3))) == {}
    layers = build(model, (3, 16, 16), 5)
    assert [m.out_channels for m in layers if isinstance(m, nn.Conv2d)] == [4, 4, 6, 6, 8, 8]
    assert model.name == "vgg-9"


def channels(model) -> list[int]:
    with torch.device("meta"):
        net = build(model, (3, 32, 32), 10)
    return [module.out_channels for module in net.modules() if isinstance(module, nn.Conv2d)]


@pytest.mark.parametrize("family", [AlexNet, GoogLeNet, MobileNet])
@pytest.mark.parametrize("multiplier", [0.001, 0.5, 1.5])
def test_a_multiplier_scales_the_channels_of_every_convolution(family, multiplier):
    assert channels(family(multiplier=multiplier)) == [
        max(1, int(multiplier * each)) for each in channels(family())
    ]


def test_names_are_short():
    assert VGG().name == "vgg-16"
    assert (GoogLeNet().name, GoogLeNet(multiplier=0.25).name) == ("googlenet", "googlenet-0.25")
    assert (AlexNet().name, AlexNet(multiplier=0.5).name) == ("alexnet", "alexnet-0.5")
    assert MobileNet(multiplier=0.5).name == "mobilenet-0.5"
    assert Timm(model="resnet18").name == "resnet18"


def test_timm_makes_networks_of_fixed_size_for_the_images_at_hand():
    net = build(Timm(model="vit_tiny_patch16_224"), (1, 32, 48), 5)
    assert net(torch.zeros(2, 1, 32, 48)).shape == (2, 5)


def test_timm_refuses_an_unknown_name_with_those_close_to_it():
    with pytest.raises(
        UserError, match=r"^model: timm \S+ has no network `resnet81`; close to it: .*resnet18"
    ):
        build(Timm(model="resnet81"), (3, 32, 32), 10)


def test_networks_are_built_without_timm_torchvision_and_the_compiler():
    code = """
import sys, torch
from ablations.models import build
from ablations.networks import ResNet
build(ResNet(depth=8, weights="product"), (1, 8, 8), 3)(torch.zeros(2, 1, 8, 8)).sum().backward()
assert not {"timm", "torchvision", "torch._dynamo"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
