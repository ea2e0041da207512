# A data set -> one array file with its fingerprint. The key in its name changes with its definition.
rule prepare:
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
    params:
        suite=suite,
    message:
        "Preparing data {wildcards.data}"
    shell:
        "python -m ablations prepare --data {wildcards.data} --suite {params.suite} > {log} 2>&1"
