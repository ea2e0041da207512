"""Augmentation in batches on the device that holds the images: no loop over images, no waiting for the
device, shapes that never change. Chance is drawn before, for a whole epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ablations.config import Recipe
from ablations.training.rand_augment import OPERATIONS, factors, motions, pixels, rand_augment


@dataclass(frozen=True)
class Draws:
    """What chance decides for n images; None is what the recipe does without. Cut by batches, or partners
    would lie outside."""

    operations: Tensor | None = None  # of RandAugment, int64 [n, k]
    motions: Tensor | None = None  # float32 [n, k, 2, 3], of each operation
    factors: Tensor | None = None  # float32 [n, k]
    crops: Tensor | None = None  # row and column of the crop in the padded image, int64 [n, 2]
    flips: Tensor | None = None  # bool [n]
    holes: Tensor | None = None  # row and column of cutout's centre, int64 [n, 2]
    partners: Tensor | None = None  # place in the batch of the image mixed in, int64 [n]
    shares: Tensor | None = None  # lambda, what is left of the image itself, float32 [n], one value a batch
    boxes: Tensor | None = None  # of CutMix, first row and column, those after the last, int64 [n, 4]

    @property
    def present(self) -> dict[str, Tensor]:
        """What the recipe does not do without."""
        return {name: values for name, values in vars(self).items() if values is not None}

    @classmethod
    def of(
        cls,
        n: int,
        recipe: Recipe,
        shape: tuple[int, int, int],
        streams: Callable[[str], torch.Generator],
    ) -> Draws:
        """The draws of an epoch of n images of a shape (c, h, w), on the CPU; mixing is drawn for full batches
        only. Each augmentation draws from a stream of its own, so that none changes the others, and the stream
        goes on from epoch to epoch."""
        size = shape[1:]
        draws: dict[str, Tensor] = {}
        if recipe.rand_augment:
            generator, per_image = streams("rand_augment"), (n, recipe.rand_augment)
            operations = torch.randint(len(OPERATIONS), per_image, generator=generator)
            plus = torch.rand(per_image, generator=generator).gt(0.5).long()
            magnitude = recipe.rand_augment_magnitude
            draws["operations"] = operations
            draws["motions"] = motions(magnitude, *size)[operations, plus]
            draws["factors"] = factors(magnitude)[plus]
        if recipe.crop_padding:
            draws["crops"] = torch.randint(2 * recipe.crop_padding + 1, (n, 2), generator=streams("crop"))
        if recipe.flip:
            draws["flips"] = torch.rand(n, generator=streams("flip")) < 0.5
        if recipe.cutout:
            generator = streams("cutout")
            draws["holes"] = torch.stack([torch.randint(s, (n,), generator=generator) for s in size], 1)
        if recipe.mixup or recipe.cutmix:
            draws |= mixing(n // recipe.batch_size, recipe, size, streams("mixing"))
        return cls(**draws)


def mixing(
    batches: int, recipe: Recipe, size: tuple[int, int], generator: torch.Generator
) -> dict[str, Tensor]:
    """Partners, shares and boxes [batches * batch size, ...] as in the authors' code: a batch has one
    permutation of its images, one share from Beta(alpha, alpha) and one box. The box's centre is uniform, the
    border cuts it, and the share becomes what it leaves."""
    partners = torch.rand(batches, recipe.batch_size, generator=generator).argsort(1).flatten()
    # numpy's, because torch's Beta takes no generator.
    chance = np.random.default_rng(torch.randint(2**63 - 1, (), generator=generator).item())
    alpha = recipe.mixup or recipe.cutmix
    shares = chance.beta(alpha, alpha, (batches, 1))
    of_batches = {}
    if recipe.cutmix:
        half = (np.sqrt(1 - shares) * size).astype(int) // 2
        centre = chance.integers(size, size=(batches, 2))
        first, end = np.clip(centre - half, 0, size), np.clip(centre + half, 0, size)
        of_batches["boxes"] = torch.from_numpy(np.hstack([first, end]))
        shares = 1 - np.prod(end - first, axis=1, keepdims=True) / np.prod(size)
    of_batches["shares"] = torch.from_numpy(shares).float().squeeze(1)
    of_images = {name: value.repeat_interleave(recipe.batch_size, 0) for name, value in of_batches.items()}
    return {"partners": partners, **of_images}


@dataclass(frozen=True)
class Targets:
    """What the network should say of n images: labels int64 [n]; where images are mixed also their partners'
    labels [n], and the share, float32 [], of the images themselves."""

    labels: Tensor
    partners: Tensor | None = None
    share: Tensor | None = None

    def loss(self, logits: Tensor) -> Tensor:
        """Mean cross-entropy in nats of logits [n, classes], that of partners with the weight of their share
        (Zhang et al. 2018, arXiv:1710.09412, section 2)."""
        loss = F.cross_entropy(logits, self.labels)
        if self.partners is None:
            return loss
        return self.share * loss + (1 - self.share) * F.cross_entropy(logits, self.partners)


def augment(
    raw: Tensor, labels: Tensor, draws: Draws, recipe: Recipe, mean: Tensor, std: Tensor
) -> tuple[Tensor, Targets]:
    """A batch as the network sees it: images float32 [n, c, h, w] out of raw uint8 ones, normalised by mean
    and std [1, c, 1, 1] on the scale 0 to 255, and targets out of labels int64 [n]."""
    images = raw.float()
    if recipe.rand_augment:
        images = rand_augment(
            images, draws.operations, draws.motions, draws.factors, recipe.rand_augment_magnitude
        )
    images = (images - mean) / std
    if recipe.crop_padding or recipe.flip:
        images = crop_and_flip(images, draws, recipe.crop_padding)
    if recipe.cutout:
        images = cutout(images, draws.holes, recipe.cutout)
    if not (recipe.mixup or recipe.cutmix):
        return images, Targets(labels)
    mixed = mixup(images, draws) if recipe.mixup else cutmix(images, draws)
    return mixed, Targets(labels, labels[draws.partners], draws.shares[0])


def crop_and_flip(images: Tensor, draws: Draws, padding: int) -> Tensor:
    """Crops of the same size out of images [n, c, h, w] padded with zeros, some mirrored left to right (He et
    al. 2015, arXiv:1512.03385, section 4.2)."""
    n, _, height, width = images.shape
    rows = torch.arange(height, device=images.device).expand(n, -1)
    columns = torch.arange(width, device=images.device).expand(n, -1)
    if draws.flips is not None:
        columns = torch.where(draws.flips[:, None], columns.flip(1), columns)
    if draws.crops is not None:
        rows, columns = rows + draws.crops[:, :1], columns + draws.crops[:, 1:]
    return pixels(F.pad(images, [padding] * 4), rows[:, :, None], columns[:, None, :])


def within(images: Tensor, first: Tensor, end: Tensor) -> Tensor:
    """Which pixels of images [n, c, h, w] lie in their box, from its first row and column [n, 2] up to the
    end [n, 2], which is outside: bool [n, 1, h, w]."""
    rows, columns = (torch.arange(size, device=images.device) for size in images.shape[2:])
    in_rows = (rows >= first[:, :1]) & (rows < end[:, :1])
    in_columns = (columns >= first[:, 1:]) & (columns < end[:, 1:])
    return (in_rows[:, :, None] & in_columns[:, None, :])[:, None]


def cutout(images: Tensor, holes: Tensor, side: int) -> Tensor:
    """Zero in a square of `side` pixels around a centre [n, 2], as far as it lies in the image (DeVries &
    Taylor 2017, arXiv:1708.04552, section 3)."""
    first = holes - side // 2
    return images.masked_fill(within(images, first, first + side), 0)


def mixup(images: Tensor, draws: Draws) -> Tensor:
    """A share of each image and the rest of its partner (Zhang et al. 2018, arXiv:1710.09412, section 2)."""
    share = draws.shares.view(-1, 1, 1, 1)
    return share * images + (1 - share) * images[draws.partners]


def cutmix(images: Tensor, draws: Draws) -> Tensor:
    """Each image with a box out of its partner (Yun et al. 2019, arXiv:1905.04899, section 3.1)."""
    first, end = draws.boxes.split(2, dim=1)
    return torch.where(within(images, first, end), images[draws.partners], images)
