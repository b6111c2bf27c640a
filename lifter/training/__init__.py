"""Makes weights: data from motion capture or the field's datasets, losses, metrics, one training loop."""
