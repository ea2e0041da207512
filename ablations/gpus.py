"""GPUs of this machine, without importing torch."""

from __future__ import annotations

import os
from pathlib import Path

DEVICES = Path("/dev")


def visible() -> int:
    """How many NVIDIA devices a process started here would see."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return len([device for device in named.split(",") if device.strip() not in ("", "-1")])
    return len([path for path in DEVICES.glob("nvidia*") if path.name.removeprefix("nvidia").isdigit()])
