"""The Chamfer family: distances between nearest neighbours as losses, and the search for their weights."""
