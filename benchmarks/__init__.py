"""Measurements: each module is a command, `python -m benchmarks.NAME --help` from the project's root says what it does.

`RESULTS.md` has their figures, with the commands that repeat them.
"""
