"""Meshes of few vertices, from points that lie on a surface or from finer meshes."""
