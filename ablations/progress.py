"""Progress for people: in a terminal, and in a log file."""

from __future__ import annotations

import sys
import time
from typing import Any


class Progress:
    """A line an epoch; on a terminal each one replaces the last."""

    def __init__(self, name: str, epochs: int):
        self.name, self.epochs, self.started = name, epochs, time.perf_counter()
        self.live = sys.stdout.isatty()

    def __call__(self, row: dict[str, float]) -> None:
        left = (time.perf_counter() - self.started) * (self.epochs / row["epoch"] - 1)
        self.show(
            f"{self.name}  epoch {row['epoch']:>{len(str(self.epochs))}}/{self.epochs}"
            f"  loss {row['running_loss']:.3f}"
            f"  error train {row['train_error']:.1f} % validation {row['validation_error']:.1f} %"
            f"  {row['images_per_second']:,.0f} images/s  {duration(left)} left",
            last=not self.live,
        )

    def finish(self, metrics: dict[str, Any]) -> None:
        """Tell how the run ended."""
        self.show(
            f"{self.name}: {metrics['status']} after {metrics['epochs_trained']} epochs"
            f" in {duration(metrics['seconds'])},"
            f" error train {metrics['train_error']:.2f} % test {metrics['test_error']:.2f} %",
            last=True,
        )

    def show(self, line: str, last: bool) -> None:
        """Print a line; on a terminal over the one before."""
        print(f"\r\033[K{line}" if self.live else line, end="\n" if last else "", flush=True)


EVERY = 10.0  # seconds between lines in a log


class Share:
    """How much of a long piece of work is done, in percent: on a terminal a line that replaces itself and goes in the
    end, in a log a line now and then."""

    def __init__(self, name: str, total: int):
        self.name, self.total, self.done = name, total, 0
        self.live, self.told = sys.stderr.isatty(), time.perf_counter()

    def add(self, amount: int) -> None:
        """So much more is done."""
        self.done += amount
        now = time.perf_counter()
        if now - self.told < (0.1 if self.live else EVERY) and not (self.live and self.done >= self.total):
            return
        self.told = now
        line = f"{self.name} {100 * self.done // max(self.total, 1)} %"
        if self.live:
            line = "\r\033[K" + (line if self.done < self.total else "")
        print(line, end="" if self.live else "\n", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """`48 s`, `3 min 20 s`, `2 h 05 min`."""
    seconds = round(seconds)
    if seconds < 100:
        return f"{seconds} s"
    if seconds < 6000:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def many(count: int, what: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
