"""The auction of many cells at once, in torch and as a Triton kernel."""
