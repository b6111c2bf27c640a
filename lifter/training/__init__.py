"""Makes weights: data from motion capture or from the field's datasets, losses, metrics, one training loop."""
