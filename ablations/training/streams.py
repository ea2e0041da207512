"""Named random streams: every use of chance draws from its own generator, derived from (seed, name), so that
one seed shows every arm the same batches in the same order whatever the network draws."""

from __future__ import annotations

import hashlib

import torch


def stream_seed(seed: int, name: str) -> int:
    """63 bits from the SHA-256 of seed and name."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big") >> 1


def stream(seed: int, name: str) -> torch.Generator:
    """A generator on the CPU: the same numbers for every device."""
    return torch.Generator().manual_seed(stream_seed(seed, name))


class Streams:
    """The named streams of a run; each goes on from epoch to epoch."""

    def __init__(self, seed: int):
        self.seed = seed
        self.generators: dict[str, torch.Generator] = {}
        self.marked: dict[str, torch.Tensor] = {}

    def __call__(self, name: str) -> torch.Generator:
        """The stream of this name, made when it is first used."""
        if name not in self.generators:
            self.generators[name] = stream(self.seed, name)
        return self.generators[name]

    def mark(self) -> None:
        """Remember where every stream is."""
        self.marked = {name: generator.get_state() for name, generator in self.generators.items()}

    def restore(self, marked: dict[str, torch.Tensor]) -> None:
        """Go back to where the streams were marked."""
        self.generators.clear()
        for name, state in marked.items():
            self(name).set_state(state.cpu())
