"""CUDA graphs: what a GPU is told once it need not be told again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

WARM_UP = 3  # calls before a function is captured, in which libraries set themselves up


class Replayed:
    """A function without arguments that reads and writes tensors at fixed places. On a GPU it is captured as a CUDA
    graph after its first calls and replayed from then on: hundreds of kernels by one call, where launching each
    would take a small network longer than computing it. On a processor, and where it cannot be captured, every
    call runs it; `how` tells."""

    def __init__(self, function: Callable[[], Any], device: torch.device, obstacle: str | None = None):
        """`obstacle`: why it cannot be captured, where that is known before."""
        self.function, self.device = function, device
        self.obstacle = obstacle if device.type == "cuda" else "on a processor"
        self.captured = False
        self.forget()

    def forget(self) -> None:
        """Capture it anew: something that is no tensor has changed."""
        self.graph: torch.cuda.CUDAGraph | None = None
        self.calls = 0

    @property
    def how(self) -> str:
        """`CUDA graph`, or `eager` with the reason."""
        if self.obstacle is not None:
            return f"eager: {self.obstacle}"
        return "CUDA graph" if self.captured else "eager: too few calls"

    def __call__(self) -> Any:
        if self.graph is None and self.obstacle is None and self.calls == WARM_UP:
            self.capture()
        if self.graph is not None:
            self.graph.replay()
            return self.result
        self.calls += 1
        return self.function()

    def capture(self) -> None:
        """Record the function without running it."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=torch.cuda.current_stream(self.device)):
                self.result = self.function()
        except RuntimeError as error:
            cause = error.__context__ or error  # leaving a broken capture raises as well
            self.obstacle = str(cause).partition("\n")[0]
            print(f"not captured as a CUDA graph, slower from here on: {self.obstacle}", flush=True)
        else:
            self.graph, self.captured = graph, True
