"""ROS 2 without ROS: transforms, markers, REP-155 topics and diagnostics over DDS."""

from sinks.ros2.sink import ROS2 as ROS2
