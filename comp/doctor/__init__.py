"""Examine a machine: its parts, the choices of a training on it, and its problems."""
