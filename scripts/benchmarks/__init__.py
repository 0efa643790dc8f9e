"""Benchmarks against the table of goals: programs to run, never timed tests."""
