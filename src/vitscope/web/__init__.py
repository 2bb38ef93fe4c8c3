"""Hosts of the view: the one-file report."""
