import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from ablations.config import Library
from ablations.errors import UserError
from ablations.plan import content_id, make_plan

# Jobs find `ablations` beside this Python, whether the environment is activated or not.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

suite = config.get("suite", "digits")
extra = config.get("extra")

try:
    plan = make_plan(Library(extra), suite)
except UserError as error:
    raise WorkflowError(str(error)) from None

# What every verb is told.
options = f"--suite {suite}" + (f" --extra {extra}" if extra else "")


wildcard_constraints:
    study="|".join(plan.studies),
    name="|".join(["report", *plan.studies]),


def report_files(name):
    return [f"report/{suite}/{name}.{ending}" for ending in ("md", "html", "pdf")]


def arm_tables(study):
    return [f"results/{suite}/arms/{job.name}.csv" for job in plan.jobs_of(study)]


def data_files(study):
    return sorted(
        {f"results/data/{job.arm.data_key}.safetensors" for job in plan.jobs_of(study)}
    )


def report_studies(name):
    return [planned.name for planned in plan.reported(name)]


# Slices of the configuration, as params: a job is done again only when its own slice has changed.


def digest(definitions):
    return content_id(
        {name: each.model_dump(mode="json") for name, each in definitions.items()}
    )


def study_slice(study):
    planned = plan.studies[study]
    return content_id(
        {
            "seeds": planned.seeds,
            **{"/".join(key): arm.id for key, arm in planned.arms.items()},
        }
    )


def report_text(name):
    studies = [planned.study for planned in plan.reported(name)]
    return content_id(
        {
            "suite": plan.suite.title,
            "studies": [study.model_dump(mode="json") for study in studies],
        }
    )
