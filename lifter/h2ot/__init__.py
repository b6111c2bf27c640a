"""The method of the paper: prune tokens, run fewer of them, recover the full sequence."""
