import hashlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from ablations import gpus
from ablations.config import Library
from ablations.errors import UserError
from ablations.failures import failure_lines, failures, search_failures
from ablations.options import read_options
from ablations.owner import occupy
from ablations.plan import TUNED, content_id, make_plan
from ablations.schema import names, suggestion
from ablations.search.address import ADDRESS, without_password

try:
    options = read_options(config)
    suite = config["suite"] = options.suite  # captions tell it too
    extra = options.extra or os.environ.get("ABLATIONS_EXTRA") or None
    plan = make_plan(Library(extra), suite)
    without_password(options.storage, "--config storage")
except UserError as error:
    raise WorkflowError(str(error)) from None

# One Snakemake at a time works on a suite. What only looks (a dry run, --summary, ...) takes no cores and does not count.
settings = workflow.resource_settings
at_work = not workflow.output_settings.dryrun and (settings.cores or settings.nodes)
if workflow.is_main_process and at_work:
    try:
        occupy(suite)
    except UserError as error:
        raise WorkflowError(str(error)) from None

# Jobs run this Python and this checkout, whether the environment is activated or not.
jobs_environment = {
    "PATH": os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    ),
    "PYTHONPATH": str(Path(workflow.basedir)),
    "ABLATIONS_EXTRA": str(extra or ""),
    "ABLATIONS_RUNS_PER_GPU": str(options.runs_per_gpu),
    "ABLATIONS_GPU_WAIT": str(options.gpu_wait),
    "ABLATIONS_AT_ONCE": str(options.at_once or ""),
    **({ADDRESS: options.storage} if options.storage else {}),
}
os.environ.update(jobs_environment)


# Those that can be tuned; tuned, they have tables, figures and a report of their own.
searchable = [name for name, planned in plan.studies.items() if planned.search]
tuned = [f"{name}{TUNED}" for name in searchable]
# Workers that share the trials of a search: one for each core, where their number is given.
workers = options.workers or workflow.resource_settings.cores or 1


wildcard_constraints:
    suite=suite,
    study="|".join([*tuned, *plan.studies]),
    searched="|".join(searchable),
    content="[0-9a-f]+",
    name="|".join(["report", *tuned, *plan.studies]),


# ---------------------------------------------------------------------------------------- what rules take


def report_files(name):
    return [f"report/{suite}/{name}.{ending}" for ending in ("md", "html", "pdf")]


# In Snakemake's own report: the suite's by itself, a study's with its figures.
def category_of_report(wildcards):
    return "Report" if wildcards.name == "report" else f"Study {wildcards.name}"


def authors_as_options():
    return " ".join(f"--author {shlex.quote(name)}" for name in options.author)


def reason_against(study):
    def reason(wildcards):
        raise WorkflowError(plan.unfit[study])

    return reason


# A suite that lists no studies says so when its report is asked for.
def report_of_nothing(wildcards):
    try:
        return plan.reported("report")
    except UserError as error:
        raise WorkflowError(str(error)) from None


# A study by its name, tuned or not: the arms of a tuned one are those of the study, with other settings.
def study_of(name):
    return plan.studies[name.removesuffix(TUNED)]


def reported(name):
    return [study_of(name)] if name.endswith(TUNED) else plan.reported(name)


def studies_to_search():
    for name in options.study:
        if name not in searchable:
            raise WorkflowError(
                f"--config: study: found {name}{suggestion(name, searchable)}; these have a search: {names(searchable)}"
            )
    return options.study or [name for name in plan.listed if name in searchable]


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


# Of an image folder it and its class folders: images added, removed or renamed change the time of the folder that
# they lie in. Not noticed are an image written over in its place, folders further down, and those whose names Snakemake
# cannot take. Of an archive its file.
def source_files(wildcards):
    dataset = plan.datasets[wildcards.data]
    if dataset.path is None:
        return []
    if dataset.source == "folder":
        top = Path(dataset.path)
        inside = [*top.glob("*/"), *top.glob("train/*/"), *top.glob("test/*/")]
        named = [
            path
            for path in map(str, inside)
            if path.isprintable() and not set("{}") & set(path)
        ]
        return sorted([str(top)] * top.exists() + named)
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


def on_this_machine():
    executor = workflow.executor_plugin
    return executor is None or executor.common_settings.local_exec


# Where there are GPUs, on this machine or on the cluster that takes the jobs, a training job asks for one.
def gpus_of_a_job(wildcards):
    return int(not on_this_machine() or gpus.visible() > 0)


# A search is named by what it does: with a changed space or budget it is another, whose workers are still to come.
def content_of_search(wildcards):
    planned = plan.studies[wildcards.searched]
    return content_id(
        {
            "arms": [
                [planned.levels(key), arm.id] for key, arm in planned.arms.items()
            ],
            "search": planned.search.model_dump(mode="json"),
        }
    )


# The workers of a search: those that have ended, which they do when all trials are done; before, as many as are asked
# for. So a finished search stays as it is, whatever the number of cores.
def workers_of(wildcards):
    folder = Path(f"results/{suite}/{wildcards.searched}/search") / content_of_search(
        wildcards
    )
    ended = sorted(folder.glob("ended-*"))
    if not ended and not on_this_machine() and not os.environ.get(ADDRESS):
        raise WorkflowError(
            "The trials of a search lie in a file that only the processes of one machine can share. Jobs on other "
            "machines need a database: --config storage=postgresql+psycopg://user@host/name, its password in the "
            "environment as PGPASSWORD"
        )
    return [str(path) for path in ended] or [
        str(folder / f"ended-{number}") for number in range(workers)
    ]


# ------------------------------------------------------------------------------------------------- slices
# of the configuration, as params: a job is done again only when its own slice has changed.


def digest(definitions):
    return content_id(
        {name: each.model_dump(mode="json") for name, each in definitions.items()}
    )


def job_seeds(wildcards):
    return plan.jobs[wildcards.job].seeds


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


# The reports that were asked for, by their names; of a search that has not come to its end, none.
def asked_reports():
    targets = workflow.dag_settings.targets
    if "search" in targets:
        tuned_now = plan.with_tuned
        return [
            f"{name}{TUNED}"
            for name in studies_to_search()
            if f"{name}{TUNED}" in tuned_now
        ]
    if "all_studies" in targets:
        return [name for name in plan.suite.studies if name in plan.studies]
    named = [name for name in targets if name in plan.studies]
    failed = [name for name in plan.listed if failures(plan, plan.study(name))]
    return named or ["report", *failed]


# Where jobs have failed, the report of what is there, with what they printed last; not after Ctrl-C.
def write_partial_reports(logs):
    if any("on user request" in Path(log).read_text() for log in logs):
        return
    if "search" in workflow.dag_settings.targets:
        for name in studies_to_search():
            for line in failure_lines(search_failures(plan, name)):
                print(line, file=sys.stderr)
    for name in asked_reports():
        command = [
            "report",
            name,
            "--suite",
            suite,
            "--partial",
            "--format",
            options.format,
        ]
        command += [word for author in options.author for word in ("--author", author)]
        subprocess.run([sys.executable, "-m", "ablations", *command], check=False)


def summary_command():
    return f"ablations summary --suite {suite}" + (f" --extra {extra}" if extra else "")
