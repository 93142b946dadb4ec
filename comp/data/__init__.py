"""Images on disk to batches in memory: scan, check, folds, cache, augment, loader, demo, npz."""
