"""Runs and submissions for the team's dashboard: what W&B gets, computed from the files of run directories."""
