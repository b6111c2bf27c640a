import threading

from stream.queues import DropOldestQueue


def test_items_are_taken_in_the_order_they_were_put():
    queue: DropOldestQueue[int] = DropOldestQueue(3)
    for item in (1, 2, 3):
        queue.put(item)
    assert [queue.get(0), queue.get(0), queue.get(0), queue.get(0)] == [1, 2, 3, None]


def test_a_full_queue_drops_the_oldest_item_and_reports_it():
    drops: list[int] = []
    queue: DropOldestQueue[int] = DropOldestQueue(2, on_drop=drops.append)
    for item in range(5):
        assert queue.put(item)
    assert (drops, queue.get(0), queue.get(0)) == ([0, 1, 2], 3, 4)


def test_a_putter_that_waits_for_space_loses_no_item():
    queue: DropOldestQueue[int] = DropOldestQueue(2)
    putter = threading.Thread(target=lambda: [queue.put(item, timeout_s=60.0) for item in range(100)])
    putter.start()
    items = [queue.get(5.0) for _ in range(100)]
    putter.join(5.0)
    assert items == list(range(100))


def test_closing_releases_a_waiting_putter_and_keeps_the_items():
    queue: DropOldestQueue[int] = DropOldestQueue(1)
    queue.put(1)
    accepted: list[bool] = []
    putter = threading.Thread(target=lambda: accepted.append(queue.put(2, timeout_s=60.0)))
    putter.start()
    queue.close()
    putter.join(5.0)
    assert accepted == [False]
    assert not queue.drained
    assert queue.get(0) == 1
    assert queue.drained
    assert queue.get(60.0) is None  # returns at once: a closed queue gets no more items
