"""RTMPose as a detector: people by a YOLOX network, then 17 keypoints of each person."""

from sources.rtmpose.detector import RTMPose as RTMPose
