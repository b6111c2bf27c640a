"""Errors of a lifter: metrics, protocols, robustness, reports."""
