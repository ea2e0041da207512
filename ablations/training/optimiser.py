"""SGD with momentum, by torch's functional interface: its optimiser classes import torch's compiler when they
are made, which takes 4 s, more than many a run on small images."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.optim.sgd import sgd

from ablations.config import Recipe


class SGD:
    """The update of torch.optim.SGD: weight decay is added to the gradient before the momentum."""

    def __init__(self, parameters: Iterable[nn.Parameter], recipe: Recipe):
        self.parameters = list(parameters)
        self.momenta: list[Tensor | None] = [None] * len(self.parameters)
        self.recipe = recipe

    def step(self, learning_rate: float) -> None:
        sgd(
            self.parameters,
            [parameter.grad for parameter in self.parameters],
            self.momenta,
            fused=True,
            lr=learning_rate,
            momentum=self.recipe.momentum,
            nesterov=self.recipe.nesterov,
            weight_decay=self.recipe.weight_decay,
            dampening=0.0,
            maximize=False,
        )

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None
