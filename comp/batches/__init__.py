"""Batches in memory: loading, augmentation image by image and batch by batch, oversampling, the device pool."""
