"""Checkpoints of a run that is not finished: two generations beside each other in the run's folder, each behind a
SHA-256 of its content. Whatever cannot be read is set aside under another name and said."""

from __future__ import annotations

import hashlib
import io
import pickle
import signal
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from ablations.errors import Interrupted
from ablations.files import set_aside, write_bytes
from ablations.store import GENERATIONS

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)  # what clusters and terminals send to end a job


class Checkpoints:
    """The checkpoints of one run, in its folder: one every `seconds`, and one when a signal comes."""

    def __init__(self, folder: Path, seconds: float = 60.0):
        self.folder, self.seconds = folder, seconds
        self.last = time.monotonic()

    def due(self) -> bool:
        """Whether it is time for one."""
        return Signals.received is not None or time.monotonic() - self.last >= self.seconds

    def save(self, state: dict[str, Any]) -> None:
        """Write a checkpoint; the one before becomes the older generation. Raises Interrupted after it where a
        signal has come."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getvalue()
        newest, before = (self.folder / name for name in GENERATIONS)
        with suppress(FileNotFoundError):
            newest.replace(before)
        write_bytes(newest, hashlib.sha256(content).digest() + content)
        self.last = time.monotonic()
        Signals.heed()

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """The newest state that is whole; None where there is none. Damaged files are set aside."""
        for path in (self.folder / name for name in GENERATIONS):
            if not path.is_file():
                continue
            content = path.read_bytes()
            digest, content = content[:32], content[32:]
            if hashlib.sha256(content).digest() != digest:
                set_aside(path, "its content does not match its checksum")
                continue
            try:
                return torch.load(io.BytesIO(content), map_location=device, weights_only=True)
            except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
                set_aside(path, f"not a checkpoint of ours ({error})")
        return None

    def clear(self) -> None:
        """Remove them: the run is finished."""
        for name in GENERATIONS:
            (self.folder / name).unlink(missing_ok=True)


class Signals:
    """Signals that ask the process to end are noted while it trains; the loop ends at its next step."""

    received: int | None = None

    def __enter__(self) -> None:
        Signals.received = None
        self.before = {number: signal.signal(number, self.note) for number in SIGNALS}

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    @staticmethod
    def heed() -> None:
        """Raise Interrupted where a signal has come."""
        if Signals.received is not None:
            raise Interrupted(Signals.received)

    @staticmethod
    def note(number: int, frame: FrameType | None) -> None:
        """Remember the first signal; a second one ends the process at once."""
        if Signals.received is not None:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        Signals.received = number
