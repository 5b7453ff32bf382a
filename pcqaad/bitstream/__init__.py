"""A model's integers to sections of a file and back; `pcqaad.open`. numpy alone."""
