"""What a training job takes and asks a cluster for: results/<suite>/resources.csv, a row a job, which `ablations plan
--resources` writes and Snakemake reads. No torch, no pandas, no numpy: Snakemake parses with this."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ablations import layout
from ablations.cost import Cost
from ablations.errors import UserError
from ablations.files import write_text

# What is asked for beside what is estimated: a job that lacks time or memory is killed.
SAFETY_TIME, SAFETY_MEMORY = 2.0, 1.5
LEAST_MINUTES, LEAST_MB = 10, 2000


@dataclass(frozen=True)
class Estimate:
    """What a training job takes on a device, with all its runs."""

    job: str
    network: str
    runs: int
    startup: float  # seconds before the first run
    seconds: float  # of a run; a GPU's are divided among the runs that train at once
    memory_mb: float  # of the process
    gpu_memory_mb: float | None  # on the device
    disk_mb: float  # of a run, when it is finished
    device: str  # where that is so
    cost: Cost

    @property
    def mem_mb(self) -> int:
        """Memory to ask for, in MB."""
        return max(LEAST_MB, 100 * math.ceil(SAFETY_MEMORY * self.memory_mb / 100))

    @property
    def runtime(self) -> int:
        """Time to ask for, in minutes."""
        return minutes(self.startup + self.runs * self.seconds)


def minutes(seconds: float) -> int:
    """What a job asks for that should take so long."""
    return max(LEAST_MINUTES, math.ceil(SAFETY_TIME * seconds / 60))


TEXTS = ("job", "network", "device")
OWN = [field.name for field in fields(Estimate) if field.name != "cost"]
COSTS = [field.name for field in fields(Cost)]


def write(suite: str, estimates: Mapping[str, Estimate]) -> Path:
    """Write the estimates of a suite's jobs, by job; the file. Those of other jobs, written before, stay."""
    from ablations.store import table

    path = layout.resources(suite)
    rows = []
    for each in {**read(suite), **estimates}.values():
        whole = asdict(each)
        costs = whole.pop("cost")
        rows.append({**whole, **costs, "mem_mb": each.mem_mb, "runtime": each.runtime})
    write_text(path, table(rows))
    return path


def read(suite: str) -> dict[str, Estimate]:
    """The estimates that were written for a suite's jobs, by job; none where there is no file. UserError where it is
    damaged."""
    path = layout.resources(suite)
    found = {}
    for row in rows(path):
        try:
            own = {name: row[name] if name in TEXTS else number(row[name]) for name in OWN}
            found[row["job"]] = Estimate(**own, cost=cost(row))
        except (KeyError, TypeError, ValueError):
            raise damaged(path) from None
    return found


def read_costs() -> dict[str, Cost]:
    """What networks cost, by the id of an arm: of all tables of results."""
    known = {}
    for path in layout.RESULTS.glob("*/*/cost.csv"):
        try:
            known |= {row["arm"]: cost(row) for row in rows(path)}
        except (KeyError, TypeError, ValueError):
            raise damaged(path) from None
    for path in layout.RESULTS.glob("*/resources.csv"):
        known |= {job.rpartition("-")[0]: each.cost for job, each in read(path.parent.name).items()}
    return known


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file; none where it is not there."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError:
        return []
    except (UnicodeDecodeError, csv.Error):
        raise damaged(path) from None


def number(text: str) -> int | float | None:
    """A number as it was written; an empty cell is None."""
    return None if text == "" else int(text) if text.isdecimal() else float(text)


def cost(row: Mapping[str, str]) -> Cost:
    """The cost in a row."""
    return Cost(*(int(row[name]) for name in COSTS))


def damaged(path: Path) -> UserError:
    """What is said of a table that cannot be read."""
    return UserError(f"{path}: damaged; delete it and run the command again: it is made anew")
