"""Shared by the tests: a folder to work in, and definitions small enough to train in seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# One thread a process, as in the workflow: several on as many cores are many times slower. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes depends on what else the machine does.
settings.register_profile("any time", deadline=None)
settings.load_profile("any time")

ROOT = Path(__file__).parent.parent
# The data set for development, where it lies beside the checkout.
CIFAR10_JPEG = ROOT.parent / "shared" / "data" / "cifar10-jpeg"

TINY = """
title: tiny
data: digits-small
seeds: {seeds}
recipe: {{epochs: 1, batch_size: 64, learning_rate: 0.05, crop_padding: 1}}
studies:
  depth:
    levels: {{depth: [8]}}
"""


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """An empty folder as the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def snakemake(*arguments: str, folder: Path, check: bool = True) -> str:
    """Run Snakemake in a folder as a user would from a shell; everything it prints."""
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        str(ROOT / "Snakefile"),
        "--cores",
        "2",
        *arguments,
    ]
    # A fresh environment of threads: Snakemake exports what a job may use.
    environment = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    output = done.stdout + done.stderr
    assert done.returncode == 0 or not check, output[-5000:]
    return output
