# A data set -> one array file with its fingerprint. The key in its name changes with its definition.
# Where Snakemake itself runs: the nodes of a cluster may have no internet access.
localrules:
    prepare,


rule prepare:
    input:
        source_files,
    output:
        "results/data/{data}.safetensors",
    log:
        "results/logs/prepare/{data}.log",
    benchmark:
        "results/benchmarks/prepare/{data}.tsv"
    conda:
        "../envs/ablations.yaml"
    resources:
        mem_mb=4000,
    message:
        "Preparing data {wildcards.data}"
    shell:
        "python -m ablations prepare --data {wildcards.data} > {log} 2>&1"
