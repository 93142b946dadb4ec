"""Observers of a fold's training: the protocol, the console, W&B and TensorBoard. Each library is named here alone."""
