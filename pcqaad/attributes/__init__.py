"""Attributes of points, on their way into a file: carried from the originals, and coded at a quality."""
