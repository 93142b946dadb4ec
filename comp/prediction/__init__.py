"""Predict with finished runs: load their models, predict views, export them, record provenance. Imports no training."""
