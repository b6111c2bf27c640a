"""ROS 2 without ROS."""
