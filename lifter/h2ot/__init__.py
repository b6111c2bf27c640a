"""The method of the paper: prune tokens, compute fewer of them, recover the full sequence."""
