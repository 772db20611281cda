"""Run an artifact where it can run, compare bits, report."""
