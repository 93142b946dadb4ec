"""Train: a config becomes components, components become a run directory."""
