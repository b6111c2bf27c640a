"""Released checkpoints of the authors, converted to our weights."""
