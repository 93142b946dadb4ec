"""Blend tables of predictions into one. Only arrays and tables are known here, and they are joined by image id."""
