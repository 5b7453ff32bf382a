"""From clouds to a fitted model: initialisation, the loop, checkpoints."""
