"""Files that break one rule of SPEC.md each, all their checksums right, and the one line that refuses each."""
