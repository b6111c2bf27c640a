"""MediaPipe's pose landmarker as a detector."""

from sources.mediapipe.detector import MediaPipe as MediaPipe
