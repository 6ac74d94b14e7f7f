from mailbell.core.sender_outcome import InputOutcome, RingOutcome
from mailbell.interfaces.local_event import LocalEvent
from mailbell.sender._counters import Counters


def test_every_name_exists_from_the_start() -> None:
    it = Counters()
    assert it.snapshot_inputs() == {outcome.value: 0 for outcome in InputOutcome}
    assert it.snapshot_rings() == {outcome.value: 0 for outcome in RingOutcome}
    assert it.snapshot_local() == {event.value: 0 for event in LocalEvent}


def test_each_end_is_counted_and_a_copy_does_not_change() -> None:
    it = Counters()
    before = it.snapshot_inputs()
    for _ in range(2):
        it.count_input(InputOutcome.MALFORMED)
        it.count_ring(RingOutcome.SENT)
        it.count_local(LocalEvent.CONNECTED)
    assert before["malformed"] == 0
    assert (it.snapshot_inputs()["malformed"], sum(it.inputs.values())) == (2, 2)
    assert (it.snapshot_rings()["sent"], sum(it.rings.values())) == (2, 2)
    assert (it.snapshot_local()["connected"], sum(it.local.values())) == (2, 2)
