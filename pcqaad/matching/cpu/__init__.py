"""The auction on the CPU, compiled by numba where that is installed."""
