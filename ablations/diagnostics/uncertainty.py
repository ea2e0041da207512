"""What a network that drops something while training knows of its own errors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ablations.diagnostics.signals import Points
from ablations.models.regularisation import Regularised, set_active

PASSES = 20


@torch.no_grad()
def dropout_uncertainty(
    net: nn.Sequential, images: Tensor, labels: Tensor, random: torch.Generator
) -> Points:
    """By the entropy, in nats, of an image's class probabilities, the mean of several passes in each of which others
    are dropped of units, channels, weights or blocks: 100 where the most probable class is wrong, else 0 (Gal &
    Ghahramani 2016, arXiv:1506.02142). Batch norm with its running averages. Nothing where nothing is dropped."""
    net.eval()
    set_active(net, True)
    for module in net.modules():
        if isinstance(module, Regularised):
            module.training = True  # of this module alone: norms within a block stay as they are
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch.randint(2**62, (), generator=random).item())
        passes = [net(images).softmax(1) for _ in range(PASSES)]
    if all(torch.equal(each, passes[0]) for each in passes):
        return []
    mean = torch.stack(passes).mean(0)
    wrong = 100.0 * (mean.argmax(1) != labels)
    return list(zip(torch.special.entr(mean).sum(1).tolist(), wrong.tolist(), strict=True))
