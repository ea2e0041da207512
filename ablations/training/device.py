"""The device of a training process."""

from __future__ import annotations

import os

import torch

from ablations.errors import UserError
from ablations.training.lease import visible_devices
from ablations.training.memory import keep_memory


def leasable(name: str) -> list[str]:
    """The GPUs that a process may lease for the device of this name; none where this torch is made without CUDA."""
    return visible_devices(name) if torch.backends.cuda.is_built() else []


def use(name: str, threads: int, leased: str | None = None) -> torch.device:
    """The device called `auto`, `cpu`, `cuda` or `cuda:N`, and the processor threads to use beside it. A leased
    device is the only one that CUDA sees. UserError where there is no such device."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic matrix products on CUDA
    # What deterministic algorithms turn on to show reads of memory that nothing wrote: a tenth of a step's time.
    torch.utils.deterministic.fill_uninitialized_memory = False
    keep_memory()
    torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32, in convolutions too
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if leased is not None:
        name = name.partition(":")[0]
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"unknown device `{name}`; known: auto, cpu, cuda, cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device `{name}` is not supported; known: auto, cpu, cuda, cuda:N")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"device {name} asked for, but torch {torch.__version__} sees no CUDA device; try --device cpu"
        )
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)
        torch.cuda.set_device(device)
    return device
