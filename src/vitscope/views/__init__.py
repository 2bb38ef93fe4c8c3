"""Panels and arrays that renderers draw."""
