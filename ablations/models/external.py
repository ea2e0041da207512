"""Networks of the timm library (Wightman, github.com/huggingface/pytorch-image-models)."""

from __future__ import annotations

import difflib

from torch import nn

from ablations.errors import UserError
from ablations.networks import Timm


def external(model: Timm, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """timm's network of this name with its own initialisation, never its trained weights. Networks made for one
    size of image (most transformers) are made for this one. UserError for an unknown name."""
    import timm  # takes seconds: only where such a network is built

    known = timm.list_models()
    if model.model not in known:
        close = difflib.get_close_matches(model.model, known, n=3)
        raise UserError(
            f"model: timm {timm.__version__} has no network `{model.model}`"
            + (f"; close to it: {', '.join(close)}" if close else "; timm.list_models() names those it has")
        )
    sized = {"img_size": shape[1:]} if timm.get_pretrained_cfg(model.model).fixed_input_size else {}
    return timm.create_model(model.model, pretrained=False, in_chans=shape[0], num_classes=classes, **sized)
