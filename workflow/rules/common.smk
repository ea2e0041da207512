import hashlib
import os
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from ablations import gpus
from ablations.config import Library
from ablations.errors import UserError
from ablations.plan import content_id, make_plan

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


wildcard_constraints:
    suite=suite,
    study="|".join(plan.studies),
    name="|".join(["report", *plan.studies]),


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


def arm_tables(wildcards):
    return [
        f"results/{suite}/arms/{job.name}.csv" for job in plan.jobs_of(wildcards.study)
    ]


def data_files(wildcards):
    return sorted(
        {
            f"results/data/{job.arm.data_key}.safetensors"
            for job in plan.jobs_of(wildcards.study)
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
    return [planned.name for planned in plan.reported(wildcards.name)]


# Where a study names mechanisms, what was measured of them.
def diagnostic_tables(*studies):
    return [
        f"results/{suite}/{study}/diagnostics"
        for study in studies
        if plan.studies[study].study.diagnostics
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


def job_snapshots(wildcards):
    return plan.jobs[wildcards.job].snapshots


# What a study's tables and figures show: factors and levels in their order, arms, seeds.
def shown(study):
    planned = plan.studies[study]
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
    study = plan.studies[wildcards.study].study
    return [shown(wildcards.study), digest(study.figures), digest(study.diagnostics)]


def diagnostics(wildcards):
    study = plan.studies[wildcards.study].study
    return [shown(wildcards.study), digest(study.diagnostics)]


def claims(wildcards):
    return [
        [shown(p.name), digest(p.study.claims)] for p in plan.reported(wildcards.name)
    ]


def text(wildcards):
    studies = [
        [shown(p.name), p.study.model_dump(mode="json")]
        for p in plan.reported(wildcards.name)
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
