import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from ablations import gpus
from ablations.config import Library
from ablations.errors import UserError
from ablations.plan import content_id, make_plan

suite = config.get("suite", "digits")
extra = config.get("extra")

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
}
os.environ.update(jobs_environment)


wildcard_constraints:
    suite=suite,
    study="|".join(plan.studies),
    name="|".join(["report", *plan.studies]),


# ---------------------------------------------------------------------------------------- what rules take


def report_files(name):
    return [f"report/{suite}/{name}.{ending}" for ending in ("md", "html", "pdf")]


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


def job_data(wildcards):
    return f"results/data/{plan.jobs[wildcards.job].arm.data_key}.safetensors"


def studies_of(wildcards):
    return [planned.name for planned in plan.reported(wildcards.name)]


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


def arms(wildcards):
    planned = plan.studies[wildcards.study]
    return content_id(
        {
            "seeds": planned.seeds,
            **{"/".join(key): arm.id for key, arm in planned.arms.items()},
        }
    )


def figures(wildcards):
    return digest(plan.studies[wildcards.study].study.figures)


def claims(wildcards):
    return [digest(planned.study.claims) for planned in plan.reported(wildcards.name)]


def text(wildcards):
    studies = [
        planned.study.model_dump(mode="json")
        for planned in plan.reported(wildcards.name)
    ]
    return content_id({"suite": plan.suite.title, "studies": studies})


# ----------------------------------------------------------------------------------------------- messages


def job_name(wildcards):
    job = plan.jobs[wildcards.job]
    return f"{job.arm.name}, seeds {', '.join(map(str, job.seeds))}"
