# An arm with its seeds -> its rows of the table of runs. The runs themselves lie in results/runs/<id>/, which
# no rule declares: Snakemake deletes declared outputs, and a job trains only what is missing there.


# Where there are GPUs, here or on the cluster that takes the jobs, a training job asks for one.
def gpus():
    local = (
        workflow.executor_plugin is None
        or workflow.executor_plugin.common_settings.local_exec
    )
    return int(not local or any(Path("/dev").glob("nvidia[0-9]*")))


def job_data(wildcards):
    return f"results/data/{plan.jobs[wildcards.job].arm.data_key}.safetensors"


def job_name(wildcards):
    job = plan.jobs[wildcards.job]
    return f"{job.arm.name}, seeds {job.seeds[0]} to {job.seeds[-1]}"


rule train:
    input:
        job_data,
    output:
        f"results/{suite}/arms/{{job}}.csv",
    log:
        f"results/{suite}/logs/train/{{job}}.log",
    benchmark:
        f"results/{suite}/benchmarks/train/{{job}}.tsv"
    threads: 1
    resources:
        gpu=gpus(),
        mem_mb=2000,
    params:
        seeds=lambda wildcards: plan.jobs[wildcards.job].seeds,
        name=job_name,
    message:
        "Training {params.name}"
    shell:
        "ablations train {options} --job {wildcards.job} --threads {threads} > {log} 2>&1"
