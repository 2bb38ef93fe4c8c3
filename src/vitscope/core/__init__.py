"""The nouns, in numpy alone: Sample, Placement, TokenLayout, TokenMap, Provenance."""
