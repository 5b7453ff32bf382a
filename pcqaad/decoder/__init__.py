"""One network, four ways to run it: exactly in numpy or torch, in float32, differentiably."""
