# An arm with its seeds -> its rows of the table of runs. The runs themselves lie in results/runs/<id>/, which
# no rule declares: Snakemake deletes declared outputs, and a job trains only what is missing there.
rule train:
    input:
        job_data,
    output:
        "results/{suite}/arms/{job}.csv",
    log:
        "results/{suite}/logs/train/{job}.log",
    benchmark:
        "results/{suite}/benchmarks/train/{job}.tsv"
    # A job that a signal has ended goes on from its checkpoint; Snakemake retries whatever the exit status is. On a
    # cluster only the process that submits retries: the one inside a job would multiply the attempts.
    retries: 2 * workflow.is_main_process
    conda:
        "../envs/ablations.yaml"
    threads: 1
    resources:
        gpu=gpus_of_a_job,
        mem_mb=memory_of_job,
        runtime=minutes_of_job,
    params:
        seeds=job_seeds,
        snapshots=job_snapshots,
        name=job_name,
    message:
        "Training {params.name}"
    shell:
        "python -m ablations train --job {wildcards.job} --suite {wildcards.suite} --threads {threads} > {log} 2>&1"
