"""The last seconds of every person: rings, windows on a time grid, and frames that wait for poses."""
