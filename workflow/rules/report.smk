# Figures of a study, verdicts over the claims of a report, and the report.


rule figures:
    input:
        f"results/{suite}/{{study}}/runs.csv",
        f"results/{suite}/{{study}}/history.csv",
    output:
        report(
            directory(f"report/{suite}/figures/{{study}}"),
            patterns=["{figure}.svg"],
            caption="../captions/figure.rst",
            category="{study}",
            labels={"shows": "{figure}"},
        ),
    log:
        f"results/{suite}/logs/figures/{{study}}.log",
    params:
        figures=lambda wildcards: digest(plan.studies[wildcards.study].study.figures),
    message:
        "Drawing the figures of {wildcards.study}"
    shell:
        "ablations figures {wildcards.study} {options} > {log} 2>&1"


rule verdicts:
    input:
        lambda wildcards: expand(
            f"results/{suite}/{{study}}/runs.csv", study=report_studies(wildcards.name)
        ),
    output:
        report(
            f"results/{suite}/{{name}}-verdicts.csv",
            caption="../captions/verdicts.rst",
            category="verdicts",
            labels={"shows": "verdicts of {name}"},
        ),
    log:
        f"results/{suite}/logs/verdicts/{{name}}.log",
    params:
        claims=lambda wildcards: [
            digest(plan.studies[s].study.claims)
            for s in report_studies(wildcards.name)
        ],
    message:
        "Judging the claims of {wildcards.name}"
    shell:
        "ablations verdicts {wildcards.name} {options} > {log} 2>&1"


rule report:
    input:
        lambda wildcards: expand(
            f"results/{suite}/{{study}}/runs.csv", study=report_studies(wildcards.name)
        ),
        lambda wildcards: expand(
            f"report/{suite}/figures/{{study}}", study=report_studies(wildcards.name)
        ),
        f"results/{suite}/{{name}}-verdicts.csv",
        template=workflow.source_path("../../report/template.md.j2"),
    output:
        f"report/{suite}/{{name}}.md",
        f"report/{suite}/{{name}}-runs.csv",
        html=report(
            f"report/{suite}/{{name}}.html",
            caption="../captions/report.rst",
            category="report",
            labels={"shows": "{name} (HTML)"},
        ),
        pdf=report(
            f"report/{suite}/{{name}}.pdf",
            caption="../captions/report.rst",
            category="report",
            labels={"shows": "{name} (PDF)"},
        ),
    log:
        f"results/{suite}/logs/report/{{name}}.log",
    params:
        text=lambda wildcards: report_text(wildcards.name),
    message:
        "Writing the report {wildcards.name}"
    shell:
        "ablations report {wildcards.name} {options} --only > {log} 2>&1"
