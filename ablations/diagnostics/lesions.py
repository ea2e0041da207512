"""Trained networks with blocks deleted or swapped, and the lengths of the paths through blocks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ablations.diagnostics.signals import Points, blocks
from ablations.models.blocks import Block


class Deleted(nn.Module):
    """What is left of a block without its transform: the shortcut, in a plain network the input as it is."""

    def __init__(self, block: Block):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        block = self.block
        if block.shortcut is None:
            return x
        if block.pre is not None:
            x = block.pre(x)
        return block.activation(block.shortcut(x, None))


@torch.no_grad()
def error(layers: list[nn.Module], images: Tensor, labels: Tensor) -> float:
    """Error in percent of a network of these layers, batch norm with its running averages."""
    wrong = nn.Sequential(*layers).eval()(images).argmax(1) != labels
    return 100 * wrong.float().mean().item()


@torch.no_grad()
def shapes(net: nn.Sequential, images: Tensor) -> list[torch.Size]:
    """The shape of the input of each layer for one image, and of the last one's output."""
    found = [images[:1].shape]
    x = images[:1]
    for layer in net.eval():
        x = layer(x)
        found.append(x.shape)
    return found


def deletable(net: nn.Sequential, images: Tensor) -> list[int]:
    """Places of the blocks that can be deleted: all with a shortcut; in a plain network those that keep the shape,
    for nothing else would turn their input into what the next block takes."""
    shape = shapes(net, images)
    return [
        place
        for place, block in blocks(net).items()
        if block.shortcut is not None or shape[place] == shape[place + 1]
    ]


def delete_one(net: nn.Sequential, images: Tensor, labels: Tensor, random: torch.Generator) -> Points:
    """By block from 1: the error in percent without it; at 0 with all (Veit et al. 2016, section 4.1)."""
    layers, first = list(net), min(blocks(net))
    points = [(0, error(layers, images, labels))]
    for place in deletable(net, images):
        lesioned = [*layers[:place], Deleted(net[place]), *layers[place + 1 :]]
        points.append((place - first + 1, error(lesioned, images, labels)))
    return points


def delete_several(net: nn.Sequential, images: Tensor, labels: Tensor, random: torch.Generator) -> Points:
    """By the number of blocks deleted, one after another in a random order: the error in percent (Veit et al. 2016,
    section 4.2)."""
    layers, places = list(net), deletable(net, images)
    points = [(0, error(layers, images, labels))]
    for count, chosen in enumerate(torch.randperm(len(places), generator=random).tolist(), start=1):
        layers[places[chosen]] = Deleted(net[places[chosen]])
        points.append((count, error(layers, images, labels)))
    return points


def swap_neighbours(net: nn.Sequential, images: Tensor, labels: Tensor, random: torch.Generator) -> Points:
    """By block from 1: the error in percent when it and the next have changed places, where both keep the same
    shape; at 0 with all in their order (after Veit et al. 2016, section 4.3)."""
    layers, shape, of_net = list(net), shapes(net, images), blocks(net)
    points = [(0, error(layers, images, labels))]
    for place in of_net:
        if place + 1 in of_net and shape[place] == shape[place + 1] == shape[place + 2]:
            swapped = [*layers[:place], layers[place + 1], layers[place], *layers[place + 2 :]]
            points.append((place - min(of_net) + 1, error(swapped, images, labels)))
    return points


def path_lengths(net: nn.Sequential, images: Tensor, labels: Tensor, random: torch.Generator) -> Points:
    """By length, the number of transforms on the way: percent of all paths through a network. A block with a shortcut
    doubles them, for n blocks to the binomial distribution of n and 1/2 (Veit et al. 2016, sections 3 and 5); one
    without lengthens all."""
    share = np.ones(1)
    for block in blocks(net).values():
        share = np.convolve(share, [0, 1] if block.shortcut is None else [0.5, 0.5])
    return [(length, 100 * part) for length, part in enumerate(share.tolist())]
