"""A trained network leaves torch: its graph, the proof that it says the same, and the files that hold it."""
