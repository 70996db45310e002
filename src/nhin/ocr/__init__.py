"""Training, measuring and exporting the reader."""
