"""Training: imports torch and numpy only, so that a job starts quickly."""
