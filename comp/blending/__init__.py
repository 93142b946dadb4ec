"""From finished runs to a submission: fit the blend, score it cross-fitted, apply it, explain it."""
