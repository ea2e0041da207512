"""Where a run was trained: what besides its identity can change its numbers in the last bits."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import ablations

# Beside torch, what training runs on, and what made the data.
PACKAGES = ("numpy", "safetensors", "scikit-learn", "pillow")


def environment(device: torch.device) -> dict[str, Any]:
    """Package versions, device, threads and the state of the checkout."""
    commit, dirty = git_state()
    return {
        "ablations": ablations.__version__,
        "commit": commit,
        "dirty": dirty,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "packages": " ".join(f"{name} {version(name)}" for name in PACKAGES),
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "device_type": device.type,
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
    }


def processor() -> str:
    """The processor's model and instruction set as torch uses it."""
    model = platform.processor() or platform.machine()
    if sys.platform == "linux":
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), model)
    return f"{model} ({torch.backends.cpu.get_cpu_capability()})"


def git_state() -> tuple[str | None, bool | None]:
    """Commit of the package's checkout and whether tracked files differ from it; None outside a checkout."""
    folder = Path(ablations.__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", folder, *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None, None
