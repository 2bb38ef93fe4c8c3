"""From a Trace to TokenMaps; no method ever sees the model."""
