"""SGD and Adam by torch's functional interface: its optimiser classes import torch's compiler when they are made,
which takes 4 s, more than many a run on small images."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from ablations.config import Recipe


class Optimiser:
    """Weights as a recipe moves them. Weight decay of strength d acts on every parameter w at learning rate r:
    `l2` adds d w to the gradient, before momentum and Adam's scaling see it; `l1` adds d sign(w); `decoupled`
    takes r d w from the weight itself (Loshchilov & Hutter 2019, arXiv:1711.05101, algorithms 1 and 2)."""

    def __init__(self, parameters: Iterable[nn.Parameter], recipe: Recipe):
        self.parameters = list(parameters)
        self.recipe = recipe
        self.update = {"sgd": SGD, "adam": Adam}[recipe.optimiser](self.parameters, recipe)

    def step(self, learning_rate: Tensor) -> None:
        """Update, at a rate [] on the device, every parameter that has a gradient; those of a block that stochastic
        depth skipped have none and stay as they are."""
        moved = [i for i, parameter in enumerate(self.parameters) if parameter.grad is not None]
        weights = [self.parameters[i].detach() for i in moved]
        gradients = [self.parameters[i].grad for i in moved]
        decay, kind = self.recipe.weight_decay, self.recipe.weight_decay_kind
        if decay and kind == "l1":
            gradients = torch._foreach_add(gradients, torch._foreach_sign(weights), alpha=decay)
        if decay and kind == "decoupled":
            torch._foreach_mul_(weights, 1 - learning_rate * decay)
        self.update(moved, weights, gradients, learning_rate, decay if kind == "l2" else 0.0)

    @property
    def tensors(self) -> list[Tensor]:
        """What the update remembers of the steps before."""
        return self.update.tensors

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None


class SGD:
    """The update of torch.optim.SGD, with momentum."""

    def __init__(self, parameters: list[nn.Parameter], recipe: Recipe):
        self.momenta = [torch.zeros_like(parameter) for parameter in parameters]
        self.tensors = self.momenta
        self.options = {"momentum": recipe.momentum, "nesterov": recipe.nesterov, "dampening": 0.0}

    def __call__(
        self, moved: list[int], weights: list[Tensor], gradients: list[Tensor], rate: Tensor, l2: float
    ):
        momenta = [self.momenta[i] for i in moved]
        options = {"fused": True, "maximize": False, "lr": rate, "weight_decay": l2}
        sgd(weights, gradients, momenta, **options, **self.options)


class Adam:
    """The update of torch.optim.Adam (Kingma & Ba 2015, arXiv:1412.6980), beta_2 = 0.999."""

    def __init__(self, parameters: list[nn.Parameter], recipe: Recipe):
        self.first = [torch.zeros_like(parameter) for parameter in parameters]
        self.second = [torch.zeros_like(parameter) for parameter in parameters]
        self.steps = [torch.zeros((), device=parameter.device) for parameter in parameters]
        self.tensors = [*self.first, *self.second, *self.steps]
        self.options = {"beta1": recipe.momentum, "beta2": 0.999, "eps": 1e-8, "amsgrad": False}

    def __call__(
        self, moved: list[int], weights: list[Tensor], gradients: list[Tensor], rate: Tensor, l2: float
    ):
        state = ([each[i] for i in moved] for each in (self.first, self.second))
        steps = [self.steps[i] for i in moved]
        options = {"fused": True, "maximize": False, "lr": rate, "weight_decay": l2}
        adam(weights, gradients, *state, [], steps, **options, **self.options)
