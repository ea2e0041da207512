"""Networks from their definitions."""

from __future__ import annotations

from torch import nn

from ablations.config import ResNet
from ablations.models.resnet import resnet


def build(model: ResNet, channels: int, classes: int) -> nn.Module:
    """A network that maps images [n, channels, height, width] to logits [n, classes], freshly initialised
    from torch's global random state."""
    return resnet(model, channels, classes)
