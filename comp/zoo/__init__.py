"""The kit's own model, and models of any kind by name."""
