"""Assignment: balanced k-d cells, the solvers, greedy matching, reassignment, refinement."""
