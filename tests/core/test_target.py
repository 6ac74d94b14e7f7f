from mailbell.core.networks import Address
from mailbell.core.notification import Transport
from mailbell.core.target import Target


def test_targets_as_text() -> None:
    assert str(Target(Address.parse("192.0.2.7"), 79, Transport.TCP)) == "192.0.2.7:79"
    assert str(Target(Address.parse("2001:db8::7"), 7979, Transport.TCP)) == "[2001:db8::7]:7979"
    assert str(Target("laptop.example.net", 79, Transport.UDP)) == "laptop.example.net:79/udp"
