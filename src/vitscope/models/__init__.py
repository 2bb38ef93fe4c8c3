"""References to loaded models; one file a family."""
