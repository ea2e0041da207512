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
    conda:
        "../envs/ablations.yaml"
    threads: 1
    resources:
        gpu=gpus_of_a_job,
        mem_mb=2000,
    params:
        seeds=job_seeds,
        name=job_name,
    message:
        "Training {params.name}"
    shell:
        "python -m ablations train --job {wildcards.job} --suite {wildcards.suite} --threads {threads} > {log} 2>&1"
