"""Readers of motion-capture datasets."""
