"""Static pictures from a View."""
