"""Where files lie, relative to the working directory. The Snakemake rules name the same places."""

from __future__ import annotations

from pathlib import Path

RESULTS = Path("results")
REPORT = Path("report")


def data(key: str) -> Path:
    """A prepared data file."""
    return RESULTS / "data" / f"{key}.safetensors"


def arm_table(suite: str, job: str) -> Path:
    """Rows of the table of runs that a training job made."""
    return RESULTS / suite / "arms" / f"{job}.csv"


def tuned_arm(suite: str, study: str, arm: int) -> Path:
    """The mark of a job that trained an arm of a tuned study."""
    return RESULTS / suite / study / "arms" / f"{arm}.done"


def study_table(suite: str, study: str, name: str) -> Path:
    """`runs`, `history` or `cost` of a study."""
    return RESULTS / suite / study / f"{name}.csv"


def diagnostic(suite: str, study: str, name: str) -> Path:
    """The table of a diagnostic of a study."""
    return RESULTS / suite / study / "diagnostics" / f"{name}.csv"


def owner(suite: str) -> Path:
    """Which Snakemake is at work on a suite."""
    return RESULTS / suite / "owner.json"


def log(suite: str, rule: str, name: str) -> Path:
    """What a job of the workflow has printed."""
    return RESULTS / suite / "logs" / rule / f"{name}.log"


def benchmarks(suite: str) -> Path:
    """The folder of what Snakemake measured of a suite's jobs: a folder a rule, a file a job."""
    return RESULTS / suite / "benchmarks"


def data_benchmark(key: str) -> Path:
    """What Snakemake measured as it prepared a data file; suites share it."""
    return RESULTS / "benchmarks" / "prepare" / f"{key}.tsv"


def data_log(key: str) -> Path:
    """What the preparation of a data file has printed; suites share it."""
    return RESULTS / "logs" / "prepare" / f"{key}.log"


def resources(suite: str) -> Path:
    """What each of a suite's training jobs takes."""
    return RESULTS / suite / "resources.csv"


def timing(suite: str) -> Path:
    """Where a suite's wall time went."""
    return RESULTS / suite / "timing.csv"


def verdicts(suite: str, report: str) -> Path:
    """The verdicts of a report."""
    return RESULTS / suite / f"{report}-verdicts.csv"


def figures(suite: str, study: str) -> Path:
    """The folder of a study's figures."""
    return REPORT / suite / "figures" / study


def report(suite: str, name: str, ending: str) -> Path:
    """A report in one of its forms: md, html or pdf."""
    return REPORT / suite / f"{name}.{ending}"


def journal(suite: str) -> Path:
    """The trials of a suite's searches, where no database is given."""
    return RESULTS / suite / "search" / "trials.journal"


def best(suite: str, study: str) -> Path:
    """The settings that a search found for each arm of a study."""
    return RESULTS / suite / study / "search" / "best.yaml"


def trials(suite: str, study: str) -> Path:
    """The trials of a study's search."""
    return RESULTS / suite / study / "search" / "trials.csv"
