"""The key of a state. What else a state holds is shown with the schedule, which fills it."""

from math import inf

from mailbell.core.networks import Address
from mailbell.core.notification import Transport
from mailbell.core.target import Target
from mailbell.sender._call import SECRET, Call, login_key

TARGET = Target(Address.parse("192.0.2.7"), 79, Transport.TCP)


def test_the_secret_has_128_bits() -> None:
    assert SECRET * 8 == 128


def test_every_byte_of_the_secret_and_of_the_address_counts() -> None:
    changed = [bytes(n == place for n in range(16)) for place in range(16)]
    keys = {login_key(TARGET, secret) for secret in (bytes(SECRET), *changed)}
    assert len(keys) == 17
    addresses = (Address.parse(f"2001:db8::{1 << bit:x}") for bit in range(0, 16, 4))
    hosts = {login_key(TARGET._replace(host=each), bytes(SECRET)) for each in addresses}
    assert len(hosts) == 4


def test_one_target_has_one_key() -> None:
    again = Target(Address.parse("192.0.2.7"), 79, Transport.TCP)
    assert login_key(again, bytes(SECRET)) == login_key(TARGET, bytes(SECRET))


def test_of_a_new_state_there_was_no_attempt_and_its_caller_has_noted_nothing() -> None:
    call = Call(TARGET, TARGET)
    assert (call.began, call.memo) == (-inf, None)
