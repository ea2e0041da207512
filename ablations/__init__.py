"""Ablations of convolutional networks: from studies in YAML to a report with verdicts."""

__version__ = "0.1.0"
