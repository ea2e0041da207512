"""Runs that train at the same time in one process, a step of each in turn."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from itertools import islice
from typing import Any

import torch


class Lane:
    """What a run has to itself in a process that trains several: torch's random state and, on a GPU, a stream,
    so that its kernels run beside those of the others. `with lane:` whatever the run does."""

    def __init__(self, device: torch.device):
        self.chance = torch.get_rng_state()
        self.stream = None
        if device.type == "cuda":
            self.default = torch.cuda.default_generators[device.index or 0]
            self.chance_on_device = self.default.clone_state()
            self.stream = torch.cuda.Stream(device)
            self.stream.wait_stream(torch.cuda.current_stream(device))  # for the data

    def __enter__(self) -> None:
        self.outside = torch.get_rng_state()
        torch.set_rng_state(self.chance)
        if self.stream is not None:
            # The state itself changes place, not its content: a captured graph goes on drawing from the lane's.
            self.outside_on_device = self.default.graphsafe_get_state()
            self.default.graphsafe_set_state(self.chance_on_device)
            self.context = torch.cuda.stream(self.stream)
            self.context.__enter__()

    def __exit__(self, *error: object) -> None:
        if self.stream is not None:
            self.context.__exit__(*error)
            self.default.graphsafe_set_state(self.outside_on_device)
        self.chance = torch.get_rng_state()
        torch.set_rng_state(self.outside)


def side_by_side(
    courses: Iterable[Generator[None, None, Any]], device: torch.device, at_once: int = 1
) -> list[Any]:
    """What courses return that pause after each of their steps, up to `at_once` of them under way at a time, each
    in a lane of its own. Their numbers are those they would have one after another. Where some fail, the others go on
    to their end all the same; then what the first of them raised is raised."""
    waiting = enumerate(courses)
    under_way = {number: (course, Lane(device)) for number, course in islice(waiting, at_once)}
    results: dict[int, Any] = {}
    failure: Exception | None = None
    while under_way:
        for number, (course, lane) in list(under_way.items()):
            try:
                with lane:
                    next(course)
            except StopIteration as end:
                results[number] = end.value
            except Exception as error:
                failure = failure or error
            else:
                continue
            del under_way[number]
            under_way |= {number: (course, lane) for number, course in islice(waiting, 1)}
    if failure is not None:
        raise failure
    return [results[number] for number in sorted(results)]
