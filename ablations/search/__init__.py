"""Tuning every arm of a study with the same budget, by Optuna."""
