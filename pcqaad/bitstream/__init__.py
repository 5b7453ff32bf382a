"""A model's integers to the sections of a `.qaad` file (formats/SPEC.md, section 7) and back; `pcqaad.open`.

`collection.py` is what `pcqaad.open` returns: read it first. `sections.py` puts a whole file together out of the parts
that `header.py`, `network.py`, `latent_coding.py`, `names.py` and `info.py` write and read. numpy alone.
"""
