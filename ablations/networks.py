"""Definitions of networks: what a study may vary of them. No torch; `ablations.models` builds them.

A family is a type with its fields; `FAMILIES` lists them. Blocks of the residual family are rows of a table:
the convolutions of their transform, and the order of normalisation and ReLU around them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, ValidationInfo, field_validator, model_validator

from ablations.schema import PositiveAmount, Sequence, Strict, shown

Rate = Annotated[float, Field(ge=0, lt=1)]
# Far beyond any network that was published, and not yet beyond all memory.
Depth = Annotated[int, Field(le=10_000)]
Layers = Annotated[int, Field(gt=0, le=10_000)]
Channels = Annotated[int, Field(gt=0, le=100_000)]
Stages = Field(max_length=32)  # each halves the image
Multiplier = Annotated[float, Field(gt=0, le=100)]
Norm = Literal["batch", "layer", "layer_pixel", "group", "instance", "none"]

# Kernel sizes of the convolutions of a block's transform. A 1x1 convolution before a larger one narrows to the
# inner width, one at the end of (1, 3, 1) widens to four times the stage's width (He et al. 2015, fig. 5); the
# others are those of Zagoruyko & Komodakis 2016 (arXiv:1605.07146), section 2.1.
BLOCKS: dict[str, tuple[int, ...]] = {
    "basic": (3, 3),
    "bottleneck": (1, 3, 1),
    "single": (3,),
    "B(3,1)": (3, 1),
    "B(1,3)": (1, 3),
    "B(3,1,1)": (3, 1, 1),
    "B(3,1,3)": (3, 1, 3),
    "B(1,3,1)": (1, 3, 1),
    "triple": (3, 3, 3),
    "quadruple": (3, 3, 3, 3),
}
EXPANSION = {"bottleneck": 4}

# What stands before and after each convolution of a transform, and after the addition: n a norm, r a ReLU
# (He et al. 2016, fig. 4; the second is theirs with norm and ReLU exchanged within the transform). The
# post-activation transform has no ReLU after its last norm, hence the last entry.
ORDERS: dict[str, dict[str, str]] = {
    "post": {"before": "", "after": "nr", "last": "n", "addition": "r"},
    "norm_after_activation": {"before": "", "after": "rn", "last": "n", "addition": "r"},
    "norm_after_addition": {"before": "", "after": "nr", "last": "", "addition": "nr"},
    "relu_before_addition": {"before": "", "after": "nr", "last": "nr", "addition": ""},
    "relu_only_pre": {"before": "r", "after": "n", "last": "n", "addition": ""},
    "pre": {"before": "nr", "after": "", "last": "", "addition": ""},
}

SHORTCUTS = {
    "none": "no shortcut: the plain network",
    "identity": "option A: identity, zero-padded where the shape changes",
    "projection": "option B: 1x1 convolution where the shape changes",
    "projections": "option C: 1x1 convolution everywhere",
    "scaled": "identity times 0.5 (constant scaling)",
    "scaled_both": "identity and transform times 0.5",
    "gated": "exclusive gating: 1 - g on the shortcut, g on the transform",
    "gated_shortcut": "shortcut-only gating: 1 - g on the shortcut",
    "dropout": "identity with dropout 0.5",
}

INITIALISATIONS = {
    "he": "normal of variance 2 / fan-in",
    "xavier": "normal of variance 2 / (fan-in + fan-out)",
    "small": "normal of standard deviation 0.01",
    "identity": "he, but convolutions that keep their channels pass their input on",
    "skipinit": "he, and a learnt factor on each transform that starts at 0",
    "fixup": "he, scaled by depth in transforms, whose last layers start at 0; learnt scalars for norms",
}


class ResNet(Strict):
    """Plain and residual networks: He et al. 2015 and 2016, Wide ResNet, ResNeXt; for images of 8 to 224 pixels."""

    family: Literal["resnet"] = "resnet"
    depth: Depth | None = None  # weighted layers of a network of equal stages, shortcuts not counted
    blocks: Annotated[Sequence(Layers), Stages] | None = None  # or blocks of each stage
    block: Literal[*BLOCKS] = "basic"
    shortcut: Literal[*SHORTCUTS] = "identity"
    gate_bias: Annotated[
        float, Field(ge=-1000, le=1000)
    ] = -6.0  # of the gated shortcuts (He et al. 2016, section 3.1)
    norm: Norm = "batch"
    norm_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1  # of batch norm's running averages
    groups: Channels = 8  # of group norm
    order: Literal[*ORDERS] = "post"
    widths: Annotated[Sequence(Channels), Stages] = (16, 32, 64)  # channels of each stage, before expansion
    stem_width: Channels | None = None  # channels of the stem; those of the first stage if not given
    inner: Channels | None = (
        None  # channels of a bottleneck's 3x3 convolution in the first stage; grows with widths
    )
    cardinality: Channels = 1  # groups of a bottleneck's 3x3 convolution (ResNeXt)
    stem: Literal["conv3", "conv7"] = "conv3"  # conv7: 7x7 at stride 2 and 3x3 max-pooling, for large images
    stride: Literal["first", "conv3"] = (
        "first"  # where a bottleneck takes its stride: its first 1x1, or its 3x3
    )
    initialisation: Literal[*INITIALISATIONS] = "he"
    weights: Literal["direct", "product"] = "direct"  # product: a weight is stored as two factors
    dropout: Rate = 0.0  # between the convolutions of a block
    spatial_dropout: Rate = 0.0  # the same for whole channels
    drop_connect: Rate = 0.0  # on the weights of the convolutions
    stochastic_depth: Rate = 0.0  # largest probability to drop a block
    depth_rule: Literal["linear", "uniform"] = "linear"  # of stochastic depth: p_l = l/L p, or p
    depth_mode: Literal["batch", "sample"] = "batch"  # batch: a dropped block is skipped, and its time saved
    tied: bool = False  # the blocks of a stage that keep its shape share their weights
    step_size: PositiveAmount = 1.0  # factor on the transform: an Euler step

    @field_validator("widths")
    @classmethod
    def some_stages(cls, widths: tuple[int, ...]) -> tuple[int, ...]:
        if not widths:
            raise ValueError("give the width of at least one stage")
        return widths

    @model_validator(mode="after")
    def possible(self) -> ResNet:
        if (self.depth is None) == (self.blocks is None):
            raise ValueError("give `depth` or `blocks`, one of them")
        if self.depth is not None:
            self.check_depth()
        if self.blocks is not None and len(self.blocks) != len(self.widths):
            raise ValueError(f"`blocks` has {len(self.blocks)} stages, `widths` {len(self.widths)}")
        if self.block != "bottleneck" and (self.inner is not None or self.cardinality > 1):
            raise ValueError(f"`inner` and `cardinality` belong to the bottleneck block, found {self.block}")
        if self.shortcut == "none" and self.stochastic_depth:
            raise ValueError(
                "stochastic depth needs a shortcut: without one a dropped block passes nothing on"
            )
        for width in self.inner_widths:
            if width == 0:
                raise ValueError(
                    f"inner {self.inner} leaves a stage of widths {list(self.widths)} no channels"
                )
            if width % self.cardinality:
                raise ValueError(f"cardinality {self.cardinality} does not divide the inner width {width}")
        normed = {*self.widths, *self.inner_widths, self.stem_channels} if self.norm == "group" else ()
        if uneven := [width for width in sorted(normed) if width % self.groups]:
            raise ValueError(f"{self.groups} groups of group norm do not divide {uneven[0]} channels")
        if self.norm != "batch" and self.norm_momentum != type(self).model_fields["norm_momentum"].default:
            raise ValueError(f"`norm_momentum` belongs to batch norm, found norm {self.norm}")
        if self.initialisation in ("skipinit", "fixup") and self.shortcut == "none":
            raise ValueError(
                f"initialisation {self.initialisation} needs a shortcut: its transforms start at zero"
            )
        if self.initialisation == "fixup":
            self.check_fixup()
        return self

    def check_fixup(self) -> None:
        """ValueError where the conditions of Zhang, Dauphin & Ma 2019, section 3, are not met."""
        if self.norm != "none":
            raise ValueError(f"initialisation fixup takes the place of a norm: norm none, found {self.norm}")
        if self.shortcut not in ("identity", "projection", "projections"):
            raise ValueError(
                f"initialisation fixup needs an identity or projection shortcut, found {self.shortcut}"
            )
        if self.order != "post":
            raise ValueError(f"initialisation fixup is made for order post, found {self.order}")
        if len(BLOCKS[self.block]) == 1:
            raise ValueError(
                f"initialisation fixup scales the layers before a transform's last: {self.block} has none"
            )

    def check_depth(self) -> None:
        """ValueError unless the stages get equal numbers of whole blocks."""
        per_step = len(BLOCKS[self.block]) * len(self.widths)
        least = per_step + 2
        if self.depth < least or (self.depth - 2) % per_step:
            below = max(least, self.depth - (self.depth - 2) % per_step)
            near = f"{below} and {below + per_step}" if self.depth > least else f"{least}"
            raise ValueError(
                f"a network of {len(self.widths)} stages of {self.block} blocks has {per_step}n + 2 layers, n >= 1; "
                f"found depth {self.depth}; valid near it: {near}"
            )

    @property
    def stage_blocks(self) -> tuple[int, ...]:
        """Blocks of each stage."""
        if self.blocks is not None:
            return self.blocks
        return ((self.depth - 2) // (len(BLOCKS[self.block]) * len(self.widths)),) * len(self.widths)

    @property
    def biases(self) -> bool:
        """Whether convolutions have biases: where no norm follows; Fixup has scalar ones of its own."""
        return self.norm == "none" and self.initialisation != "fixup"

    @property
    def stem_channels(self) -> int:
        return self.stem_width or self.widths[0]

    @property
    def inner_widths(self) -> tuple[int, ...]:
        """Channels inside the blocks of each stage."""
        if self.inner is None:
            return self.widths
        return tuple(self.inner * width // self.widths[0] for width in self.widths)

    @property
    def name(self) -> str:
        kind = "plain" if self.shortcut == "none" else "resnext" if self.cardinality > 1 else "resnet"
        layers = sum(self.stage_blocks) * len(BLOCKS[self.block]) + 2
        return f"{kind}-{self.depth or layers}"


class DenseNet(Strict):
    """Huang et al. 2017, arXiv:1608.06993: each layer sees the outputs of all before it in its dense block."""

    family: Literal["densenet"] = "densenet"
    depth: Depth | None = None  # weighted layers of a network of three equal dense blocks
    blocks: Annotated[Sequence(Layers), Stages, Field(min_length=1)] | None = (
        None  # or layers of each dense block
    )
    growth_rate: Channels = 12  # channels that each layer adds
    bottleneck: bool = False  # B: a 1x1 convolution to 4 growth_rate channels before each 3x3
    compression: Annotated[float, Field(gt=0, le=1)] = 1.0  # C: part of the channels that a transition keeps
    stem_width: Channels | None = None  # 16, or twice the growth rate with bottlenecks, if not given
    stem: Literal["conv3", "conv7"] = "conv3"
    dropout: Rate = 0.0  # after each convolution of a dense block

    @model_validator(mode="after")
    def possible(self) -> DenseNet:
        if (self.depth is None) == (self.blocks is None):
            raise ValueError("give `depth` or `blocks`, one of them")
        if self.depth is not None:
            per_step = 6 if self.bottleneck else 3
            if self.depth < per_step + 4 or (self.depth - 4) % per_step:
                below = max(per_step + 4, self.depth - (self.depth - 4) % per_step)
                near = f"{below} and {below + per_step}" if self.depth > per_step + 4 else f"{per_step + 4}"
                raise ValueError(
                    f"a DenseNet of three {'bottleneck ' if self.bottleneck else ''}blocks has {per_step}n + 4 layers; "
                    f"found depth {self.depth}; valid near it: {near}"
                )
        channels = self.stem_channels
        for layers in self.block_layers[:-1]:
            channels = int((channels + layers * self.growth_rate) * self.compression)
            if not channels:
                raise ValueError(f"compression {self.compression} leaves a transition no channels")
        return self

    @property
    def block_layers(self) -> tuple[int, ...]:
        """Layers of each dense block."""
        return self.blocks or ((self.depth - 4) // (6 if self.bottleneck else 3),) * 3

    @property
    def stem_channels(self) -> int:
        return self.stem_width or (2 * self.growth_rate if self.bottleneck else 16)

    @property
    def name(self) -> str:
        layers = sum(self.block_layers) * (2 if self.bottleneck else 1) + len(self.block_layers) + 1
        bc = "-".join(
            filter(
                None, ["densenet", ("B" if self.bottleneck else "") + ("C" if self.compression < 1 else "")]
            )
        )
        return f"{bc}-{self.depth or layers}-k{self.growth_rate}"


class LeNet(Strict):
    """LeNet-5: LeCun et al. 1998, section II.B, with average pooling and full connections; for 28 or 32 pixels.
    A convolution pads its image by two pixels where that is smaller than in the paper."""

    family: Literal["lenet"] = "lenet"
    activation: Literal["tanh", "relu"] = "tanh"

    @property
    def name(self) -> str:
        return "lenet-5"


class AlexNet(Strict):
    """Krizhevsky 2014, arXiv:1404.5997: AlexNet of one column and without its local normalisation."""

    family: Literal["alexnet"] = "alexnet"
    stem: Literal["conv3", "conv11"] = "conv3"  # conv11: 11x11 at stride 4, for large images
    multiplier: Multiplier = 1.0  # of the convolutions' channels
    hidden: Annotated[Sequence(Channels), Stages] = (4096, 4096)  # units of the hidden linear layers
    dropout: Rate = 0.5  # of the input of each hidden layer

    @property
    def name(self) -> str:
        return "alexnet" if self.multiplier == 1 else f"alexnet-{self.multiplier:g}"


class VGG(Strict):
    """Simonyan & Zisserman 2015, arXiv:1409.1556: stages of 3x3 convolutions, a max pooling after each."""

    family: Literal["vgg"] = "vgg"
    widths: Annotated[Sequence(Channels), Stages] = (64, 128, 256, 512, 512)  # channels of each stage
    convolutions: Annotated[Sequence(Layers), Stages] = (
        2,
        2,
        3,
        3,
        3,
    )  # of each stage; one number: so many in each
    norm: Literal["batch", "none"] = "batch"
    hidden: Annotated[
        Sequence(Channels), Stages
    ] = ()  # units of the hidden linear layers; (4096, 4096) in the paper
    dropout: Rate = 0.0  # after each hidden layer; without one, before the classifier

    @field_validator("convolutions", mode="before")
    @classmethod
    def of_each_stage(cls, found: Any, info: ValidationInfo) -> Any:
        """One whole number as a tuple, so that either way of writing it is the same network."""
        return (found,) * len(info.data.get("widths", "?")) if type(found) is int else found

    @model_validator(mode="after")
    def possible(self) -> VGG:
        if not self.widths:
            raise ValueError("give the width of at least one stage")
        if len(self.convolutions) != len(self.widths):
            raise ValueError(
                f"`convolutions` has {len(self.convolutions)} stages, `widths` {len(self.widths)}"
            )
        return self

    @property
    def name(self) -> str:
        return f"vgg-{sum(self.convolutions) + 3}"  # as in the paper, with its three linear layers


class GoogLeNet(Strict):
    """Szegedy et al. 2015, arXiv:1409.4842: nine Inception modules; with batch norm, without auxiliary heads."""

    family: Literal["googlenet"] = "googlenet"
    stem: Literal["conv3", "conv7"] = "conv3"  # conv7: 7x7 at stride 2 and two max-poolings, for large images
    multiplier: Multiplier = 1.0  # of the channels of stem and modules
    dropout: Rate = 0.2  # before the classifier

    @property
    def name(self) -> str:
        return "googlenet" if self.multiplier == 1 else f"googlenet-{self.multiplier:g}"


class MobileNet(Strict):
    """Howard et al. 2017, arXiv:1704.04861, table 1: depthwise-separable convolutions."""

    family: Literal["mobilenet"] = "mobilenet"
    multiplier: Multiplier = 1.0  # of the channels: alpha in section 3.3
    separable: bool = True  # else one full 3x3 convolution for each pair (table 4)
    stem_stride: Literal[1, 2] = 1  # 2: for large images

    @property
    def name(self) -> str:
        return f"{'mobilenet' if self.separable else 'conv-mobilenet'}-{self.multiplier:g}"


class Timm(Strict):
    """Any network of the timm library by its name there, untrained; timm is imported when it is built."""

    family: Literal["timm"] = "timm"
    model: Annotated[
        str, Field(pattern=r"^[\w.]{1,100}$")
    ]  # as `timm.list_models()` has it, for example resnet18

    @property
    def name(self) -> str:
        return self.model


Network = ResNet | DenseNet | LeNet | AlexNet | VGG | GoogLeNet | MobileNet | Timm
FAMILIES: dict[str, type[Strict]] = {kind.model_fields["family"].default: kind for kind in get_args(Network)}


def family(fields: dict[str, Any]) -> type[Strict]:
    """The type of a network from its fields. ValueError for an unknown family."""
    name = fields.get("family", "resnet")
    if not isinstance(name, str) or name not in FAMILIES:
        raise ValueError(f"family: found {shown(name)}; known: {', '.join(FAMILIES)}")
    return FAMILIES[name]
