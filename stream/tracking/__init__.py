"""Identity of people: cleans keypoints, gives every person an id and a state, repairs left/right mix-ups."""
