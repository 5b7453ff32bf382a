"""The auction over a tree of prices, compiled for the CPU."""
