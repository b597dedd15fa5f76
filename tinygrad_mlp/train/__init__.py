"""Training: data, fit, callbacks, metrics, augmentation, checkpoints and pictures."""
