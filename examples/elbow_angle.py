"""Print the angle of every person's right elbow: 180 degrees is a straight arm.

    python examples/elbow_angle.py [tcp://127.0.0.1:5555]

Needs a running node: `poselift run webcam`, or `poselift run synthetic` without a camera.
"""

import sys

import numpy as np

from stream import subscribe

ENDPOINT = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5555"
SHOULDER, ELBOW, WRIST = 14, 15, 16  # joints of the right arm in h36m17 (docs/wire.md)


def angle_deg(xyz: np.ndarray) -> float:
    """Angle between upper arm and forearm, from joints (17, 3) in metres."""
    upper, fore = xyz[SHOULDER] - xyz[ELBOW], xyz[WRIST] - xyz[ELBOW]
    cosine = upper @ fore / (np.linalg.norm(upper) * np.linalg.norm(fore))
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


for poses in subscribe(ENDPOINT, newest=True):
    for person in poses.persons:
        if person.state == "lost":  # sent once, without a pose
            print(person.id, "left")
        else:
            print(
                person.id, f"{angle_deg(person.xyz):.0f} degrees", f"{poses.age_ms():.0f} ms old", flush=True
            )
