"""The last seconds of every person: ring buffers, resampling, frames waiting for a pose."""
