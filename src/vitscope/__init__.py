"""vitscope: see a vision transformer's way from data to decision."""
