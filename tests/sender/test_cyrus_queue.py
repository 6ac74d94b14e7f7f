"""What waits for a sender that does not read: each thing once, in bounded memory."""

from mailbell.sender._cyrus_queue import CyrusQueue
from mailbell.sender._requests import IGNORED, Malformed, NewMail, Request


def parse(data: bytes) -> Request | Malformed:
    if data.startswith(b"i"):
        return IGNORED
    return NewMail(data.decode()) if data else Malformed("empty")


def taken(queue: CyrusQueue) -> list[bytes]:
    found = []
    while queue:
        found.append(queue.first())
        queue.remove_first()
    return found


def test_the_same_waits_once_in_the_order_in_which_it_came_first() -> None:
    queue = CyrusQueue(parse)
    assert all(queue.add(each) for each in (b"anna", b"bert", b"anna", b"ignored"))
    assert taken(queue) == [b"anna", b"bert"]
    queue.add(b"anna")
    assert taken(queue) == [b"anna"]


def test_no_message_is_empty() -> None:
    """The sender would take it for the end of the reader."""
    queue = CyrusQueue(parse)
    queue.add(b"")
    assert taken(queue) == [b"\0"]


def test_too_many_are_dropped() -> None:
    queue = CyrusQueue(parse, events=2)
    assert [queue.add(each) for each in (b"a", b"b", b"c", b"a")] == [True, True, False, True]
    queue.remove_first()
    assert queue.add(b"c")
    assert taken(queue) == [b"b", b"c"]


def test_8192_events_wait_at_once() -> None:
    queue = CyrusQueue(parse)
    assert all(queue.add(str(number).encode()) for number in range(8192))
    assert not queue.add(b"one more")
    assert len(queue) == 8192


def test_eight_mebibytes_wait_at_once() -> None:
    queue = CyrusQueue(parse)
    assert not queue.add(b"a" * (8 * 1024**2 + 1))
    assert queue.add(b"a" * 8 * 1024**2)
    assert not queue.add(b"b")


def test_what_is_known_makes_room_for_as_many_bytes_as_it_had() -> None:
    queue = CyrusQueue(parse, size=5)
    for _ in range(2):
        assert queue.add(b"")
        assert queue.add(b"aaaa")
        assert not queue.add(b"b")
        assert taken(queue) == [b"\0", b"aaaa"]
    assert queue.add(b"aaaaa")


def test_too_many_bytes_are_dropped() -> None:
    queue = CyrusQueue(parse, size=5)
    assert [queue.add(each) for each in (b"aaa", b"bbb", b"cc")] == [True, False, True]
    queue.remove_first()
    assert [queue.add(each) for each in (b"bbbb", b"bbb")] == [False, True]
    assert taken(queue) == [b"cc", b"bbb"]
