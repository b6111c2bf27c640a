"""Where 2D keypoints come from: `type:` in a config picks an entry; files import libraries when opened."""

# What delivers keypoints by itself.
SOURCES = {
    "keypoints_zmq": "sources.zeromq:ZeroMQ",
    "keypoints_mqtt": "sources.mqtt:MQTT",
    "recording": "sources.recording:Recording",
    "synthetic": "sources.synthetic:Synthetic",
}

# What delivers images, to be combined with a detector by `sources.detected`.
FRAME_SOURCES = {
    "opencv": "sources.opencv:OpenCV",
    "images": "sources.images:Images",
}

DETECTORS = {
    "mediapipe": "sources.mediapipe:MediaPipe",
}
