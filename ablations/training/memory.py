"""Memory of a training process: how it is asked for, and the most that it took."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
from pathlib import Path

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # <malloc.h>
OWN = Path("/proc/self")  # Linux


def keep_memory() -> None:
    """Ask glibc to keep what tensors free for the next ones, in large pages, instead of giving it back to the
    system: clearing fresh pages takes a tenth of a step on a processor."""
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch reads it at its first tensor
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):  # glibc's own: no other C library has it
        mallopt(M_MMAP_THRESHOLD, 2**25)  # bytes; the most that it takes
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def reset_peak(device: torch.device) -> None:
    """Begin to watch the peak anew, where the system can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with contextlib.suppress(OSError):
            (OWN / "clear_refs").write_text("5")


def peak_mb(device: torch.device) -> float:
    """The most memory since then, in MB (10^6 bytes): on a GPU of this process's tensors, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    if (OWN / "status").exists():
        lines = (OWN / "status").read_text().splitlines()
        kib = next(line for line in lines if line.startswith("VmHWM")).split()[1]
        return int(kib) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # macOS counts bytes
