"""Augmentation in batches on the device that holds the images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ablations.config import Recipe


@dataclass(frozen=True)
class Draws:
    """What chance decides for n images: crop offsets int64 [n] in 0 .. 2 * padding, flips bool [n]."""

    rows: Tensor
    columns: Tensor
    flips: Tensor

    def __getitem__(self, index: slice) -> Draws:
        return Draws(self.rows[index], self.columns[index], self.flips[index])


def draw(n: int, recipe: Recipe, generator: torch.Generator, device: torch.device) -> Draws:
    """The draws of an epoch, made at once on the CPU and moved to the device."""
    rows, columns = torch.randint(0, 2 * recipe.crop_padding + 1, (2, n), generator=generator).to(device)
    flips = torch.rand(n, generator=generator).lt(0.5).to(device)
    return Draws(rows, columns, flips)


def augment(images: Tensor, draws: Draws, recipe: Recipe) -> Tensor:
    """Random crops out of normalised images [n, c, h, w] padded with zeros, and horizontal flips (He et al.
    2015, section 4.2): one gather, no loop over images."""
    if not recipe.crop_padding and not recipe.flip:
        return images
    n, channels, height, width = images.shape
    rows = draws.rows[:, None] + torch.arange(height, device=images.device)
    columns = draws.columns[:, None] + torch.arange(width, device=images.device)
    if recipe.flip:
        columns = torch.where(draws.flips[:, None], columns.flip(1), columns)
    padded = F.pad(images, [recipe.crop_padding] * 4)
    padded = padded.flatten(2)  # [n, c, padded height * padded width]
    place = rows[:, :, None] * (width + 2 * recipe.crop_padding) + columns[:, None, :]
    place = place.view(n, 1, height * width).expand(n, channels, -1)
    return padded.gather(2, place).view(n, channels, height, width)
