"""Where people are: root position, floor, world frame, foot contact."""
