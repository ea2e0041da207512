"""Shared by the tests: a folder to work in, and definitions small enough to train in seconds."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from PIL import Image

# One thread a process, as in the workflow: several on as many cores are many times slower. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes depends on what else the machine does.
settings.register_profile("any time", deadline=None)
settings.load_profile("any time")

ROOT = Path(__file__).parent.parent
# The data set for development, where it lies beside the checkout.
CIFAR10_JPEG = ROOT.parent / "shared" / "data" / "cifar10-jpeg"

# How much longer than `make test` the tests with random inputs and kills go on: ABLATIONS_SOAK=100 pytest ...
SOAK = int(os.environ.get("ABLATIONS_SOAK", "1"))


def examples(number: int) -> settings:
    """So many random examples of a test that takes long with each."""
    return settings(max_examples=number * SOAK, deadline=None)


@contextlib.contextmanager
def no_longer_than(seconds: int) -> Iterator[None]:
    """An AssertionError where the block hangs."""

    def ring(*_):
        raise AssertionError(f"hangs: more than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def tally(what: str, count: int = 1) -> None:
    """Add to what `make soak` counts."""
    if path := os.environ.get("ABLATIONS_SOAK_COUNTS"):
        with Path(path).open("a") as file:
            file.write(json.dumps({what: count}) + "\n")


TINY = """
title: tiny
data: digits-small
seeds: {seeds}
recipe: {{epochs: 1, batch_size: 64, learning_rate: 0.05, crop_padding: 1}}
studies:
  depth:
    levels: {{depth: [8]}}
"""


def small_depth() -> str:
    """The study `depth` with one figure, and without diagnostics: these take most of the time of a tiny suite."""
    text = (ROOT / "ablations" / "studies" / "depth.yaml").read_text()
    head, _, figures = text.partition("diagnostics:")
    return head + "figures:" + figures.partition("figures:")[2].partition("  training-curves:")[0]


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """An empty folder as the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def snakemake_command(*arguments: str, cores: int | None = 2) -> list[str]:
    """What a user types, by this Python and this checkout."""
    cores_given = [] if cores is None else ["--cores", str(cores)]
    return [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        str(ROOT / "Snakefile"),
        *cores_given,
        *arguments,
    ]


def environment() -> dict[str, str]:
    """A shell's, without numbers of threads: Snakemake exports what a job may use."""
    return {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}


def snakemake(*arguments: str, folder: Path, check: bool = True, cores: int | None = 2) -> str:
    """Run Snakemake in a folder as a user would from a shell; everything it prints."""
    command = snakemake_command(*arguments, cores=cores)
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    output = done.stdout + done.stderr
    assert done.returncode == 0 or not check, output[-5000:]
    return output


def encoded(image, form: str = "PNG", **options) -> bytes:
    """An image, or an array of one, as the content of a file."""
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, form, **options)
    return file.getvalue()


def pytest_collection_modifyitems(items):
    """Files of few tests first: these take long, and two processes that share the files end at about the same time."""
    sizes = Counter(item.path for item in items)
    items.sort(key=lambda item: sizes[item.path])
