"""Who is who: cleans keypoints, gives every person an id, repairs left/right mistakes."""
