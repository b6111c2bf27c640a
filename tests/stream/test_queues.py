import threading

from stream.queues import DropOldestQueue


def test_items_come_out_in_the_order_they_went_in():
    slot: DropOldestQueue[int] = DropOldestQueue(3)
    for item in (1, 2, 3):
        slot.put(item)
    assert [slot.get(0), slot.get(0), slot.get(0), slot.get(0)] == [1, 2, 3, None]


def test_a_full_slot_drops_the_oldest_and_says_so():
    drops: list[int] = []
    slot: DropOldestQueue[int] = DropOldestQueue(2, on_drop=lambda: drops.append(1))
    for item in range(5):
        assert slot.put(item)
    assert (len(drops), slot.get(0), slot.get(0)) == (3, 3, 4)


def test_a_putter_that_waits_for_room_loses_nothing():
    slot: DropOldestQueue[int] = DropOldestQueue(2)
    putter = threading.Thread(target=lambda: [slot.put(item, wait_s=60.0) for item in range(100)])
    putter.start()
    got = [slot.get(5.0) for _ in range(100)]
    putter.join(5.0)
    assert got == list(range(100))


def test_closing_frees_a_waiting_putter_and_keeps_what_is_inside():
    slot: DropOldestQueue[int] = DropOldestQueue(1)
    slot.put(1)
    answers: list[bool] = []
    putter = threading.Thread(target=lambda: answers.append(slot.put(2, wait_s=60.0)))
    putter.start()
    slot.close()
    putter.join(5.0)
    assert answers == [False]
    assert not slot.drained
    assert slot.get(0) == 1
    assert slot.drained
    assert slot.get(60.0) is None  # at once: nobody will ever put again
