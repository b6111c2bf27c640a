"""Measures the errors of a lifter: metrics, evaluation protocols, robustness, look-ahead."""
