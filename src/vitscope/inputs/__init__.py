"""Files and arrays to Samples."""
