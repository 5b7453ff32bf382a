"""Completion: whole clouds from parts of them, by a fitted file's prior or by a network trained to (Algorithm 2)."""
