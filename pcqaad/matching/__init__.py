"""Assignment: balanced k-d cells, the solvers, greedy and optimal matching, re-matching, reassignment."""
