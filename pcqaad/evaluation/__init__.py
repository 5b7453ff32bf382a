"""How far decoded clouds lie from their originals."""
