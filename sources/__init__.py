"""Sources of 2D keypoints. `type:` in a config picks an entry; libraries are imported when it opens."""

# Sources that deliver keypoints.
SOURCES = {
    "keypoints_zmq": "sources.zeromq:ZeroMQ",
    "keypoints_mqtt": "sources.mqtt:MQTT",
    "recording": "sources.recording:Recording",
    "synthetic": "sources.synthetic:Synthetic",
}

# Sources that deliver images; `sources.detected` combines them with a detector.
FRAME_SOURCES = {
    "opencv": "sources.opencv:OpenCV",
    "images": "sources.images:ImageFolder",
}

DETECTORS = {
    "mediapipe": "sources.mediapipe:MediaPipe",
    "rtmpose": "sources.rtmpose:RTMPose",
}
