"""What people use today, one codec a file: each codes clouds and decodes them from its own bytes.

A codec's function returns the decoded clouds and the bytes of all. An archive that would hold them costs nothing.
"""
