import hashlib
import os
import re
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from ablations import gpus
from ablations.config import Library
from ablations.errors import UserError
from ablations.plan import TUNED, content_id, make_plan

suite = config.setdefault("suite", "digits")  # captions tell it too
extra = config.get("extra", os.environ.get("ABLATIONS_EXTRA")) or None
form = config.get("format", "course")
if form not in ("course", "paper"):
    raise WorkflowError(f"--config format: found {form}; give course or paper")

try:
    plan = make_plan(Library(extra), suite)
except UserError as error:
    raise WorkflowError(str(error)) from None

# Jobs run this Python and this checkout, whether the environment is activated or not.
jobs_environment = {
    "PATH": os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    ),
    "PYTHONPATH": str(Path(workflow.basedir)),
    "ABLATIONS_EXTRA": str(extra or ""),
    "ABLATIONS_RUNS_PER_GPU": str(config.get("runs_per_gpu", 1)),
    "ABLATIONS_GPU_WAIT": str(config.get("gpu_wait", 24)),
    "ABLATIONS_AT_ONCE": str(config.get("at_once", "")),
}
os.environ.update(jobs_environment)


# Those that can be tuned; tuned, they have tables, figures and a report of their own.
searchable = [name for name, planned in plan.studies.items() if planned.search]
tuned = [f"{name}{TUNED}" for name in searchable]
# Workers that share the trials of a search: one for each core, where their number is given.
workers = int(config.get("workers", workflow.resource_settings.cores or 1))


wildcard_constraints:
    suite=suite,
    study="|".join([*tuned, *plan.studies]),
    searched="|".join(searchable),
    name="|".join(["report", *tuned, *plan.studies]),


# ---------------------------------------------------------------------------------------- what rules take


def report_files(name):
    return [f"report/{suite}/{name}.{ending}" for ending in ("md", "html", "pdf")]


# In Snakemake's own report: the suite's by itself, a study's with its figures.
def category_of_report(wildcards):
    return "Report" if wildcards.name == "report" else f"Study {wildcards.name}"


# One author or several, from the command line (`--config author="A. Student"`) or a configuration file.
def authors_as_options(authors):
    named = authors if isinstance(authors, list) else [authors]
    return " ".join(f"--author {shlex.quote(str(name))}" for name in named)


def reason_against(study):
    def reason(wildcards):
        raise WorkflowError(plan.unfit[study])

    return reason


# A study by its name, tuned or not: the arms of a tuned one are those of the study, with other settings.
def study_of(name):
    return plan.studies[name.removesuffix(TUNED)]


def reported(name):
    return [study_of(name)] if name.endswith(TUNED) else plan.reported(name)


def studies_to_search():
    asked = config.get("study")
    if asked is None:
        return [name for name in plan.listed if name in searchable]
    for name in asked if isinstance(asked, list) else [asked]:
        if name not in searchable:
            raise WorkflowError(
                f"--config study: found {name}; these have a search: {', '.join(searchable)}"
            )
    return asked if isinstance(asked, list) else [asked]


# What a search has found, for the steps of a tuned study.
def search_files(*names):
    return [
        f"results/{suite}/{name.removesuffix(TUNED)}/search/{file}"
        for name in names
        if name.endswith(TUNED)
        for file in ("best.yaml", "trials.csv")
    ]


# What the report of a tuned study compares with.
def of_the_study_untuned(name):
    base = name.removesuffix(TUNED)
    if base == name:
        return []
    return [f"results/{suite}/{base}/runs.csv", f"results/{suite}/{base}-verdicts.csv"]


def arm_tables(wildcards):
    if wildcards.study.endswith(TUNED):
        count = len(study_of(wildcards.study).arms)
        return [
            f"results/{suite}/{wildcards.study}/arms/{arm}.done" for arm in range(count)
        ]
    return [
        f"results/{suite}/arms/{job.name}.csv" for job in plan.jobs_of(wildcards.study)
    ]


def own_arm_tables(wildcards):
    return [
        f"results/{suite}/arms/{job.name}.csv"
        for job in plan.jobs_of(wildcards.searched)
    ]


def data_files(wildcards):
    study = wildcards.get("study") or wildcards.searched
    return sorted(
        {
            f"results/data/{job.arm.data_key}.safetensors"
            for job in plan.jobs_of(study_of(study).name)
        }
    )


def source_files(wildcards):
    dataset = plan.datasets[wildcards.data]
    if dataset.path is None:
        return []
    return sorted(
        str(path)
        for split in ("train", "test")
        for path in Path(dataset.path).glob(f"{split}*.parquet")
    )


def job_data(wildcards):
    return f"results/data/{plan.jobs[wildcards.job].arm.data_key}.safetensors"


def studies_of(wildcards):
    if wildcards.name.endswith(TUNED):
        return [wildcards.name]
    return [planned.name for planned in plan.reported(wildcards.name)]


# Where a study names mechanisms, what was measured of them.
def diagnostic_tables(*studies):
    return [
        f"results/{suite}/{study}/diagnostics"
        for study in studies
        if not study.endswith(TUNED) and study_of(study).study.diagnostics
    ]


# Where there are GPUs, on this machine or on the cluster that takes the jobs, a training job asks for one.
def gpus_of_a_job(wildcards):
    local = (
        workflow.executor_plugin is None
        or workflow.executor_plugin.common_settings.local_exec
    )
    return int(not local or gpus.visible() > 0)


# ------------------------------------------------------------------------------------------------- slices
# of the configuration, as params: a job is done again only when its own slice has changed.


def digest(definitions):
    return content_id(
        {name: each.model_dump(mode="json") for name, each in definitions.items()}
    )


def job_seeds(wildcards):
    return plan.jobs[wildcards.job].seeds


# How an arm is tuned; the trials of a smaller budget are kept when it is raised.
def search_of(wildcards):
    planned = plan.studies[wildcards.searched]
    return [shown(planned.name), planned.search.model_dump(mode="json")]


def levels_of_arm(wildcards):
    planned = plan.studies[wildcards.searched]
    key = list(planned.arms)[int(wildcards.arm)]
    return " ".join(
        shlex.quote(f"{factor}={level}")
        for factor, level in planned.levels(key).items()
    )


def job_snapshots(wildcards):
    return plan.jobs[wildcards.job].snapshots


# What a study's tables and figures show: factors and levels in their order, arms, seeds.
def shown(study):
    planned = study_of(study)
    factors = [
        [name, [level.label for level in factor.levels]]
        for name, factor in planned.factors.items()
    ]
    return content_id(
        {
            "factors": factors,
            "arms": [a.id for a in planned.arms.values()],
            "seeds": planned.seeds,
        }
    )


def arms(wildcards):
    return shown(wildcards.study)


def figures(wildcards):
    study = study_of(wildcards.study).study
    return [shown(wildcards.study), digest(study.figures), digest(study.diagnostics)]


def diagnostics(wildcards):
    study = plan.studies[wildcards.study].study
    return [shown(wildcards.study), digest(study.diagnostics)]


def claims(wildcards):
    return [
        *([shown(p.name), digest(p.study.claims)] for p in reported(wildcards.name)),
        [claim.metric for claim in plan.family(wildcards.name)],
    ]


def text(wildcards):
    studies = [
        [shown(p.name), p.study.model_dump(mode="json")]
        for p in reported(wildcards.name)
    ]
    titles = sorted({dataset.title for dataset in plan.datasets.values()})
    return content_id(
        {"suite": plan.suite.title, "extra": extra, "studies": studies, "data": titles}
    )


# The code behind what is cheap to make again: after an update, tables and reports are renewed. Training and data
# have versions of their own (ENGINE_VERSION, PREPARATION_VERSION), raised when their numbers change.
def code(*modules):
    package = Path(workflow.basedir) / "ablations"
    files = sorted(path for module in modules for path in package.glob(module))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[
        :16
    ]


# ----------------------------------------------------------------------------------------------- messages


def job_name(wildcards):
    job = plan.jobs[wildcards.job]
    return f"{job.arm.name}, seeds {', '.join(map(str, job.seeds))}"


def summary_command():
    return f"ablations summary --suite {suite}" + (f" --extra {extra}" if extra else "")
