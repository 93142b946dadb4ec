"""Diagnose a dataset by what models say of it: suspected labels, unusual images, shifts. Arrays only, no files."""
