"""Let a robot follow a person's right hand, and stop it when that hand is not reliably tracked.

    python examples/stop_robot.py [tcp://127.0.0.1:5555]

For one camera. The robot stops when the person is lost or predicted, when the hand is hidden, and when poses
are old or missing. Replace the two `print` by your robot's commands; keep its own safety functions.
"""

import sys
from collections.abc import Iterator

from stream import subscribe
from stream.errors import SourceLost
from stream.messages import PoseFrame

ENDPOINT = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5555"
MAX_AGE_MS, MAX_SILENCE_S, HAND = 300, 0.5, 16


def newest_poses() -> Iterator[PoseFrame | None]:
    """The newest pose frame, again and again; None whenever no poses have arrived for MAX_SILENCE_S."""
    while True:
        try:
            yield from subscribe(ENDPOINT, newest=True, timeout_s=MAX_SILENCE_S)
        except SourceLost:
            yield None


target = None  # id of the person to follow: the first one that is detected, until that person is lost
for poses in newest_poses():
    people = {person.id: person for person in poses.persons if person.state != "lost"} if poses else {}
    target = target if target in people else next(iter(people), None)
    person = people.get(target) if poses and poses.age_ms() < MAX_AGE_MS else None
    if person and person.state == "ok" and person.visible[HAND]:
        print("follow", person.id, person.xyz[HAND].round(2), flush=True)
    else:
        print("stop", flush=True)
