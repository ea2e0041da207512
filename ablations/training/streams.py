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
