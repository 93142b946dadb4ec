"""Observers of a fold's training: the protocol, the console, and W&B. Each file alone names its library."""
