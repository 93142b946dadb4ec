"""Training and prediction on tensors, without files, trackers or studies."""
