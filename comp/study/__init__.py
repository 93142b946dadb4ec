"""Comparisons of many runs: hyperparameter searches and the leaderboard."""
