"""Symbols to bits and back: range coding, its probability models, sets of grid points, fields over them."""
