"""The .qaad container: a checked table of sections, and groups of records inside one."""
