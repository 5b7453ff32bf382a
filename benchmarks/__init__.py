"""Measurements. Each is a command that runs from the project's root: `python -m benchmarks.NAME --help`.

`RESULTS.md` has the figures, and the commands that repeat them.
"""
