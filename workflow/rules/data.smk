# A data set -> one array file with its fingerprint. The key in its name changes with its definition.
rule prepare:
    output:
        "results/data/{data}.safetensors",
    log:
        "results/logs/prepare/{data}.log",
    benchmark:
        "results/benchmarks/prepare/{data}.tsv"
    resources:
        mem_mb=4000,
    message:
        "Preparing data {wildcards.data}"
    shell:
        "ablations prepare {options} --data {wildcards.data} > {log} 2>&1"
