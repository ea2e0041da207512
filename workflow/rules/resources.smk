# What training jobs ask a cluster for, from results/<suite>/resources.csv, which `ablations plan --resources` writes;
# and whether what is to be trained stays within the suite's budget.
import atexit
from dataclasses import replace
from functools import cache

from ablations import resources
from ablations.config import Budget
from ablations.schema import validate

given = {
    name: value
    for name in Budget.model_fields
    if (value := getattr(options, f"budget_{name}")) is not None
}
try:
    estimates = resources.read(suite)
    validate(Budget, given, "--config budget_...")
except UserError as error:
    raise WorkflowError(str(error)) from None
limits = plan.suite.budget.model_copy(update=given)


# ---------------------------------------------------------------------------------------------- resources
# Snakemake does no job again because they have changed. A job that ran out of them asks for more.


of_jobs = {
    name: replace(estimates[name], runs=len(job.seeds))  # there may be more since
    for name, job in plan.jobs.items()
    if name in estimates
}


# Slurm gives all jobs of an array what the first of them asks for: then each asks for what the largest takes. Asked
# once; the executor's settings are not there yet while Snakemake reads this file.
@cache
def largest():
    arrays = getattr(workflow.executor_settings, "array_jobs", None) or ""
    if not of_jobs or not {"train", "all"} & set(re.split(r"[,;\s]+", arrays)):
        return []
    return [
        max(of_jobs.values(), key=lambda each: each.mem_mb),
        max(of_jobs.values(), key=lambda each: each.runtime),
    ]


def estimates_of_job(wildcards):
    return largest() or [of_jobs[name] for name in [wildcards.job] if name in of_jobs]


# An arm for each job; none where one of them has not been estimated.
def estimates_of_arms(wildcards):
    arms = list(plan.studies[wildcards.searched].arms.values())
    if "arm" in wildcards.keys():
        arms = [arms[int(wildcards.arm)]]
    names = [plan.arm_jobs[arm.id][0].name for arm in arms]
    known = [estimates[name] for name in names if name in estimates]
    return known if len(known) == len(names) else []


def memory(known, wildcards, attempt):
    unknown = (
        8000 if gpus_of_a_job(wildcards) else 2000
    )  # CUDA takes half of it by itself
    return attempt * max((each.mem_mb for each in known), default=unknown)


def memory_of_job(wildcards, attempt):
    return memory(estimates_of_job(wildcards), wildcards, attempt)


def memory_of_arms(wildcards, attempt):
    return memory(estimates_of_arms(wildcards), wildcards, attempt)


HOURS_UNKNOWN = 4


def minutes_of_job(wildcards, attempt):
    known = [each.runtime for each in estimates_of_job(wildcards)]
    return attempt * max(known, default=60 * HOURS_UNKNOWN)


# All runs of an arm with other settings, or a worker's share of the trials of a study.
def minutes_of_arms(wildcards, attempt):
    study = plan.studies[wildcards.searched]
    runs, shares = len(study.seeds), 1
    if "arm" not in wildcards.keys():
        runs, shares = study.search.trials * study.search.seeds, workers
    known = estimates_of_arms(wildcards)
    seconds = sum(each.startup + runs * each.seconds for each in known) / shares
    return attempt * (resources.minutes(seconds) if known else 60 * HOURS_UNKNOWN)


# ------------------------------------------------------------------------------------------------- budget


def planned_runs():
    from ablations.budget import planned

    arms, trials, searched = [], [], set()
    for job in workflow.dag.needrun_jobs(
        exclude_finished=False
    ):  # a dry run finishes them
        wildcards = job.wildcards
        if job.rule.name == "train":
            todo = plan.jobs[wildcards.job]
            arms.append((todo.arm, todo.seeds))
        elif job.rule.name == "train_tuned":
            study = plan.studies[wildcards.searched]
            arm = list(study.arms.values())[int(wildcards.arm)]
            trials.append((arm, len(study.seeds)))
        elif job.rule.name == "do_trials":
            searched.add(wildcards.searched)
    for study in (plan.studies[name] for name in searched):
        runs = study.search.trials * study.search.seeds
        trials += [(arm, runs) for arm in study.arms.values()]
    kind = "cuda" if gpus_of_a_job(None) else "cpu"
    return planned(plan, arms, kind, trials)


onstart:
    if workflow.is_main_process and not workflow.touch and not options.yes:
        from ablations.budget import check

        try:
            check(
                plan,
                planned_runs(),
                limits,
                "--config yes=true or, say, budget_hours=400 (budget_runs, budget_disk_gb)",
            )
        except UserError as error:
            raise WorkflowError(str(error)) from None


# A dry run starts nothing; at its end it says what would be trained.
@atexit.register
def say_what_would_be_trained():
    if workflow.dryrun and workflow.is_main_process and workflow.dag is not None:
        try:
            planned = planned_runs()
        except UserError as error:  # a damaged file, which the run itself sets aside
            print(error, file=sys.stderr)
            return
        beyond = planned.beyond(limits)
        if planned.runs:
            over = "; more than the budget of " + " and ".join(beyond) if beyond else ""
            print(f"{planned}{over}", file=sys.stderr)
