"""Fields of networks and recipes as phrases that a reader of the report understands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ablations.config import listing, words

# By field: a phrase for any value, or one for each. An empty phrase: nothing is worth saying.
PHRASES: dict[str, str | Mapping[Any, str]] = {
    "data": "{}",
    "family": {
        "resnet": "residual networks",
        "densenet": "densely connected networks",
        "lenet": "LeNet-5",
        "alexnet": "AlexNet",
        "vgg": "VGG networks",
        "googlenet": "GoogLeNet",
        "mobilenet": "MobileNet",
        "timm": "a network of the timm library",
    },
    "model": "{}",
    "depth": "{} layers",
    "blocks": "stages of {} blocks",
    "block": {
        "basic": "blocks of two 3x3 convolutions",
        "bottleneck": "bottleneck blocks of 1x1, 3x3 and 1x1 convolutions",
        "single": "blocks of one 3x3 convolution",
        "triple": "blocks of three 3x3 convolutions",
        "quadruple": "blocks of four 3x3 convolutions",
        None: "blocks {}",
    },
    "shortcut": {
        "none": "no shortcuts",
        "identity": "identity shortcuts, padded with zeros where the shape changes",
        "projection": "identity shortcuts, 1x1 convolutions where the shape changes",
        "projections": "1x1 convolutions as shortcuts",
        "scaled": "shortcuts times 0.5",
        "scaled_both": "shortcuts and transforms times 0.5",
        "gated": "gates on shortcuts and transforms",
        "gated_shortcut": "gates on the shortcuts",
        "dropout": "dropout 0.5 on the shortcuts",
    },
    "gate_bias": "gates that start with a bias of {}",
    "norm": {
        "batch": "batch norm",
        "layer": "layer norm",
        "layer_pixel": "layer norm of each pixel",
        "group": "group norm",
        "instance": "instance norm",
        "none": "no norm",
    },
    "norm_momentum": "momentum {} of its running averages",
    "groups": "{} groups of group norm",
    "order": {
        "post": "a norm after each convolution and a ReLU after the addition",
        "norm_after_activation": "a norm after each ReLU within the block",
        "norm_after_addition": "a norm after the addition",
        "relu_before_addition": "the last ReLU before the addition",
        "relu_only_pre": "a ReLU before and a norm after each convolution",
        "pre": "a norm and a ReLU before each convolution",
    },
    "widths": "stages of {} channels",
    "stem_width": "a first layer of {} channels",
    "inner": "bottlenecks {} channels wide in the first stage",
    "cardinality": {1: "3x3 convolutions without groups", None: "3x3 convolutions in {} groups"},
    "stem": {
        "conv3": "a first layer of 3x3",
        "conv7": "a first layer of 7x7 with stride 2 and max pooling",
        "conv11": "a first layer of 11x11 with stride 4",
    },
    "stride": {"first": "the stride in a block's first convolution", "conv3": "the stride in a bottleneck's 3x3 convolution"},
    "initialisation": {
        "he": "normal weights of variance 2 / fan-in",
        "xavier": "normal weights of variance 2 / (fan-in + fan-out)",
        "small": "normal weights of standard deviation 0.01",
        "identity": "convolutions that start as the identity where they keep their channels",
        "skipinit": "a learnt factor on each transform that starts at 0 (SkipInit)",
        "fixup": "weights scaled by depth and learnt scalars (Fixup)",
    },
    "weights": {"direct": "", "product": "each weight a product of two"},
    "dropout": "dropout {}",
    "spatial_dropout": "dropout {} of whole channels",
    "drop_connect": "dropout {} of weights",
    "stochastic_depth": "stochastic depth up to {}",
    "depth_rule": {"linear": "growing linearly with depth", "uniform": "the same in every block"},
    "depth_mode": {"batch": "drawn for a batch", "sample": "drawn for each image"},
    "tied": {True: "weights shared by the blocks of a stage", False: ""},
    "step_size": "transforms times {}",
    "growth_rate": "growth rate {}",
    "bottleneck": {True: "1x1 before 3x3 convolutions", False: "3x3 convolutions only"},
    "compression": "{} of the channels kept between blocks",
    "activation": {"tanh": "tanh", "relu": "ReLU"},
    "multiplier": "channels times {}",
    "hidden": "hidden layers of {} units",
    "convolutions": "stages of {} convolutions",
    "separable": {True: "depthwise-separable convolutions", False: "full convolutions"},
    "stem_stride": "stride {} in the first layer",
    "epochs": "{} epochs",
    "batch_size": "batches of {}",
    "optimiser": {"sgd": "stochastic gradient descent", "adam": "Adam"},
    "learning_rate": "learning rate {}",
    "momentum": "momentum {}",
    "nesterov": {True: "Nesterov's momentum", False: ""},
    "weight_decay": "weight decay {}",
    "weight_decay_kind": {"l2": "decay of the squared norm", "decoupled": "decay decoupled from the gradient", "l1": "decay of absolute values"},
    "schedule": {
        "cosine": "a learning rate that falls to 0 along a cosine",
        "step": "a learning rate that falls in steps",
        "constant": "a constant learning rate",
    },
    "milestones": "after {} of the training",
    "gamma": "each to {} of the rate before",
    "warmup": {0.0: "no warm-up", None: "{} epochs of linear warm-up"},
    "patience": "ended after {} epochs without a lower validation error",
    "crop_padding": {0: "no random crops", None: "random crops after padding by {} pixels"},
    "flip": {True: "random flips", False: "no flips"},
    "rand_augment": "RandAugment, {} an image",
    "rand_augment_magnitude": "of strength {} of 30",
    "cutout": "a square of {} pixels cut out",
    "mixup": "mixup, alpha {}",
    "cutmix": "CutMix, alpha {}",
    "random_labels": "{} of the training labels drawn at random",
    "regularise_from": "active from {} of the training on",
    "regularise_until": "active until {} of the training",
    "norm_statistics": {"running": "running averages at test time", "pass": "statistics of a pass over the training images at test time"},
    "precision": {"fp32": "32-bit floating point", "bf16": "bfloat16 with 32-bit weights"},
    "deterministic": {True: "deterministic algorithms", False: "faster algorithms that are not deterministic"},
    "compile": {True: "compiled by torch.compile", False: "not compiled"},
    "memory_format": {"channels_last": "channels last in memory", "contiguous": "channels first in memory"},
}  # fmt: skip


def phrase(path: str, value: Any) -> str:
    """A field, by its path, with its value in words; empty where there is nothing to say."""
    if value is None:
        return ""
    told = PHRASES[field_of(path)]
    if not isinstance(told, str):
        told = told.get(value, told.get(None, f"{words(field_of(path))} {{}}"))
    return told.format(plain(value))


def field_of(path: str) -> str:
    """`depth` of `model.depth`."""
    return path.rpartition(".")[2]


def described(settings: Mapping[str, Any]) -> str:
    """Fields, by their paths, in words, one after another."""
    return ", ".join(filter(None, (phrase(path, value) for path, value in settings.items())))


def plain(value: Any) -> str:
    """A value in words."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple | list):
        return listing([plain(each) for each in value])
    return f"{value:g}" if isinstance(value, float) else str(value)
