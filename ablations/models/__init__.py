"""Networks from their definitions: a file a family."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from ablations.errors import UserError
from ablations.models.classics import alexnet, lenet, mobilenet
from ablations.models.densenet import densenet
from ablations.models.external import external
from ablations.models.googlenet import googlenet
from ablations.models.resnet import resnet
from ablations.models.vgg import vgg
from ablations.models.weights import effective_weights
from ablations.networks import Network

__all__ = ["build", "effective_weights"]

BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "resnet": resnet,
    "densenet": densenet,
    "lenet": lenet,
    "alexnet": alexnet,
    "vgg": vgg,
    "googlenet": googlenet,
    "mobilenet": mobilenet,
    "timm": external,
}


def build(model: Network, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """A network that maps images [n, *shape] to logits [n, classes], freshly initialised from torch's global
    random state. `shape` is channels, height, width. UserError where memory does not suffice for it."""
    try:
        return BUILDERS[model.family](model, shape, classes)
    except RuntimeError as error:
        if "allocate memory" not in str(error):
            raise
        raise UserError(f"{model.name}: its weights do not fit into memory; give it fewer channels") from None
