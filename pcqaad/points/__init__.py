"""Arrays in: checked, sampled, normalised, kept in 16 bits a coordinate."""
