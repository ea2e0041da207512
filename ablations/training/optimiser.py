"""SGD with momentum, by torch's functional interface: its optimiser classes import torch's compiler when they
are made, which takes 4 s, more than many a run on small images."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.optim.sgd import sgd

from ablations.config import Recipe


class SGD:
    """The update of torch.optim.SGD: weight decay is added to the gradient before the momentum."""

    def __init__(self, parameters: Iterable[nn.Parameter], recipe: Recipe):
        self.parameters = list(parameters)
        self.momenta = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.recipe = recipe

    def step(self, learning_rate: float) -> None:
        """Update every parameter that has a gradient; those of a block that stochastic depth skipped have none
        and stay as they are."""
        moved = [(p, m) for p, m in zip(self.parameters, self.momenta, strict=True) if p.grad is not None]
        sgd(
            [parameter for parameter, _ in moved],
            [parameter.grad for parameter, _ in moved],
            [momentum for _, momentum in moved],
            fused=True,
            lr=learning_rate,
            momentum=self.recipe.momentum,
            nesterov=self.recipe.nesterov,
            weight_decay=self.recipe.weight_decay,
            dampening=0.0,
            maximize=False,
        )

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None
