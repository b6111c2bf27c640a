"""Writes measurements of lifters as Markdown pages, model cards and plots."""
