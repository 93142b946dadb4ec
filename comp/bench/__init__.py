"""Measure how fast this machine trains and predicts with a config, through the components of a training."""
