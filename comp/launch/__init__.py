"""Train the folds of a run on other machines, through Ray or Slurm."""
