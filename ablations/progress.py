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


def duration(seconds: float) -> str:
    """`48 s`, `3 min 20 s`, `2 h 05 min`."""
    seconds = round(seconds)
    if seconds < 100:
        return f"{seconds} s"
    if seconds < 6000:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
