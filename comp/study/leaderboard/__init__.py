"""All runs and blends, best first, with paired tests against the best. It does not import torch."""
