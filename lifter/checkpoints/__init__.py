"""Checkpoints that the authors released, converted to weights of this package."""
