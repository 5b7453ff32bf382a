"""Floats to integers at a price: step sizes, weight scales, the rate that a goal leaves."""
