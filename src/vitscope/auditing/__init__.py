"""The way from a file to a model's tensor, checked: what was done, what was lost, and what is wrong."""
