"""Vectors of many photos: kept on disk, projected to two or three dimensions, and how far to trust that. No torch here."""
