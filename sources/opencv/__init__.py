"""Cameras, streams and videos read by OpenCV."""

from sources.opencv.source import OpenCV as OpenCV
