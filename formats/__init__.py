"""Bytes: readers and writers of clouds, the .qaad container and its entropy coding."""
