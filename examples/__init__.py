"""Scripts that stand alone, `python examples/NAME.py`: populations to try pcqaad on, and pictures of its work."""
