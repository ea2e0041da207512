"""RandAugment (Cubuk et al. 2020, arXiv:1909.13719, section 3) for a batch: every operation is computed for
all images and kept where it was drawn. Operations and strengths are those of
`torchvision.transforms.v2.RandAugment` with 31 magnitudes, nearest pixels and black around the image."""

from __future__ import annotations

import math

import torch
from torch import Tensor

OPERATIONS = (
    *("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"),
    *("Brightness", "Color", "Contrast", "Sharpness"),
    *("Posterize", "Solarize", "AutoContrast", "Equalize"),
)
MAGNITUDES = 31


def level(start: float, end: float, magnitude: int) -> float:
    """The strength on a scale of 31, in float32 as torchvision has it."""
    return torch.linspace(start, end, MAGNITUDES)[magnitude].item()


def motions(magnitude: int, height: int, width: int) -> Tensor:
    """Where the geometric operations fetch a pixel, by operation and sign (0 minus, 1 plus): float32
    [14, 2, 2, 3] times (x, y, 1), in pixels right and down from the image's centre."""
    table = torch.eye(2, 3).repeat(len(OPERATIONS), 2, 1, 1)
    for plus, sign in enumerate((-1, 1)):
        shear = sign * level(0, 0.3, magnitude)
        right, down = (sign * int(level(0, 150 / 331 * size, magnitude)) for size in (width, height))
        angle = math.radians(sign * level(0, 30, magnitude))
        cos, sin = math.cos(angle), math.sin(angle)
        for name, matrix in {
            "ShearX": [[1, shear, shear * height / 2], [0, 1, 0]],  # the top row stays
            "ShearY": [[1, 0, 0], [shear, 1, shear * width / 2]],
            "TranslateX": [[1, 0, -right], [0, 1, 0]],
            "TranslateY": [[1, 0, 0], [0, 1, -down]],
            "Rotate": [[cos, -sin, 0], [sin, cos, 0]],
        }.items():
            table[OPERATIONS.index(name), plus] = torch.tensor(matrix)
    return table


def factors(magnitude: int) -> Tensor:
    """How far brightness, colour, contrast and sharpness go from the degenerate image (0) by way of the image
    itself (1), by sign (0 minus, 1 plus): float32 [2]."""
    strength = level(0, 0.9, magnitude)
    return torch.tensor([1 - strength, 1 + strength])


def rand_augment(
    images: Tensor, operations: Tensor, motions: Tensor, factors: Tensor, magnitude: int
) -> Tensor:
    """Images [n, c, h, w], whole numbers 0 to 255 in float32, c 1 or 3, after the k operations drawn for
    each: indices into OPERATIONS int64 [n, k] with their motions [n, k, 2, 3] and factors [n, k]."""
    posterized_step = 2 ** round(level(0, 4, magnitude))
    solarized_from = 255 * level(1, 0, magnitude)
    for i in range(operations.shape[1]):
        is_drawn = operations[:, i] == torch.arange(len(OPERATIONS), device=images.device)[:, None]
        drawn = dict(zip(OPERATIONS, is_drawn[:, :, None, None, None], strict=True))
        images = moved(images, motions[:, i])
        images = blended(images, drawn, factors[:, i])
        for name, image in {
            "Posterize": (images / posterized_step).floor() * posterized_step,
            "Solarize": torch.where(images >= solarized_from, 255 - images, images),
            "AutoContrast": autocontrasted(images),
            "Equalize": equalized(images),
        }.items():
            images = torch.where(drawn[name], image, images)
    return images


def pixels(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The pixels of images [n, c, h, w] at rows and columns that broadcast to [n, h', w'], in one gather."""
    n, channels, _, width = images.shape
    place = rows * width + columns
    flat = place.view(n, 1, -1).expand(-1, channels, -1)
    return images.flatten(2).gather(2, flat).view(n, channels, *place.shape[1:])


def moved(images: Tensor, motion: Tensor) -> Tensor:
    """Each image by its motion [n, 2, 3], nearest pixel, zero where it comes from outside."""
    height, width = images.shape[2:]
    x = torch.arange(width, device=images.device) - (width - 1) / 2
    y = torch.arange(height, device=images.device)[:, None] - (height - 1) / 2
    along_x, along_y, shift = motion[..., None, None].unbind(2)
    source_x, source_y = (along_x * x + along_y * y + shift).unbind(1)
    columns = (source_x + (width - 1) / 2).round().long()
    rows = (source_y + (height - 1) / 2).round().long()
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return pixels(images, rows.clamp(0, height - 1), columns.clamp(0, width - 1)) * inside[:, None]


def blended(images: Tensor, drawn: dict[str, Tensor], factor: Tensor) -> Tensor:
    """Each image from its degenerate by way of itself: black, grey, evenly grey or blurred."""
    grey = images
    if images.shape[1] == 3:
        red, green, blue = images.split(1, dim=1)
        grey = (0.2989 * red).add(green, alpha=0.587).add(blue, alpha=0.114).floor()
    # 13 times the mean under the kernel [[1, 1, 1], [1, 5, 1], [1, 1, 1]]: whole numbers, exact in any order.
    across = images[..., :-2] + images[..., 1:-1] + images[..., 2:]
    inner = images[..., 1:-1, 1:-1]
    sums = across[..., :-2, :] + across[..., 1:-1, :] + across[..., 2:, :] + 4 * inner
    blurred = images.clone()  # the border stays: it lacks neighbours
    blurred[..., 1:-1, 1:-1] = (sums / 13).round()
    degenerate = images
    for name, image in {
        "Brightness": images.new_zeros(()),
        "Color": grey,
        "Contrast": grey.mean((2, 3), keepdim=True),
        "Sharpness": blurred,
    }.items():
        degenerate = torch.where(drawn[name], image, degenerate)
    blend = degenerate + factor.view(-1, 1, 1, 1) * (images - degenerate)
    return blend.clamp(0, 255).floor()


def autocontrasted(images: Tensor) -> Tensor:
    """Each channel stretched so that its values reach from 0 to 255; one of a single value stays."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    stretched = (images - low) / ((high - low) * (1 / 255))
    return torch.where(high > low, stretched.clamp(0, 255).floor(), images)


def equalized(images: Tensor) -> Tensor:
    """Each channel with its values spread by rank, as Pillow does: a value becomes the number of pixels below
    it over the 255th part of the pixels below the brightest value. With fewer than 255 of them it stays."""
    values = images.flatten(2).long()
    one = torch.ones((), dtype=torch.int32, device=images.device)
    # Whole numbers add up to the same in any order, so that scatter_add is deterministic.
    counts = one.new_zeros(*values.shape[:2], 256).scatter_add_(2, values, one.expand_as(values))
    below = counts.cumsum(2) - counts
    step = below.gather(2, values.amax(2, keepdim=True)) // 255
    spread = ((below + step // 2) // step.clamp(min=1)).clamp(max=255)
    return torch.where(step > 0, spread.gather(2, values), values).view_as(images).float()
