from sinks.mqtt.publication_queue import QUEUE_SIZE, PublicationQueue
from sinks.mqtt.publications import Publication
from tests.examples import pose_frame

POSE = Publication("poselift/cam0/pose3d", b"{}")
EVENT = Publication("poselift/cam0/events", b"lost", 1)
COUNT = Publication("poselift/cam0/persons", b"0", 0, True)


def waiting(queue: PublicationQueue) -> list[Publication]:
    return list(iter(queue.get, None))


def test_a_full_queue_drops_poses_and_keeps_events_and_counts() -> None:
    drops: list[str] = []
    queue = PublicationQueue(None, lambda: drops.append("pose"))
    queue.put([EVENT, COUNT])
    queue.put([POSE] * 1000, pose_frame())
    assert waiting(queue) == [EVENT, COUNT, *[POSE] * QUEUE_SIZE]
    assert len(drops) == 1000 - QUEUE_SIZE


def test_events_that_wait_for_a_broker_are_bounded() -> None:
    drops: list[str] = []
    queue = PublicationQueue(None, lambda: drops.append("event"))
    events = [EVENT._replace(payload=b"%d" % number) for number in range(1000)]
    queue.put(events)
    assert queue.drain() == events[-2 * QUEUE_SIZE :]
    assert len(drops) == 1000 - 2 * QUEUE_SIZE
    assert waiting(queue) == []
