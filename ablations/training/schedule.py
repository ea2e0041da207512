"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math

from ablations.config import Recipe


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Learning rate of a step, counted from 0. The warm-up grows linearly and ends at the full rate; then
    `cosine` falls along half a cosine to zero at the end of the training (Loshchilov & Hutter 2017,
    arXiv:1608.03983, eq. 5), `step` multiplies by gamma at each milestone, and `constant` leaves it as it is."""
    total = recipe.epochs * steps_per_epoch
    warmup = round(recipe.warmup * steps_per_epoch)
    if step < warmup:
        return recipe.learning_rate * ((step + 1) / warmup)
    if recipe.schedule == "cosine":
        return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))
    if recipe.schedule == "constant":
        return recipe.learning_rate
    passed = sum(step >= round(milestone * total) for milestone in recipe.milestones)
    return recipe.learning_rate * recipe.gamma**passed
