"""Files of points and meshes: found, read one at a time, written."""
