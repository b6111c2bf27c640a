"""Cameras, network streams and video files read with OpenCV."""

from sources.opencv.source import OpenCV as OpenCV
