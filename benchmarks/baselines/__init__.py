"""Other methods that benchmarks compare pcqaad with, trained as their authors train them."""
