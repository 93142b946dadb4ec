"""Training and prediction on tensors: knows neither the disk, nor W&B, nor Optuna."""
