"""All runs and blends, the best first, and which of them are inside the noise. Waits for no torch."""
