"""Trains lifters: recipes, batches from motion capture or datasets, losses, one training loop."""
