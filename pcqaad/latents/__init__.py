"""Latents of clouds that a decoder never saw: whole ones appended, partial ones completed."""
