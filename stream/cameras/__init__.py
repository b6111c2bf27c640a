"""Cameras: intrinsics, extrinsics, and calibration from a printed board."""
