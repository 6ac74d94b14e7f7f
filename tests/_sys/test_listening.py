import socket

import pytest

from mailbell._sys.listening import quick_to_accept


@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_it_is_the_same_socket(family: socket.AddressFamily, host: str) -> None:
    plain = socket.create_server((host, 0), family=family)
    plain.setblocking(False)
    address, number = plain.getsockname(), plain.fileno()
    with quick_to_accept(plain) as quick:
        assert plain.fileno() == -1
        assert quick.fileno() == number
        assert quick.getsockname() == address
        assert quick.gettimeout() == 0.0
        with pytest.raises(BlockingIOError):
            quick.accept()
        with socket.create_connection(address[:2]) as peer:
            accepted, source = quick.accept()
            with accepted:
                assert source == peer.getsockname()
                assert (accepted.family, accepted.type) == (family, socket.SOCK_STREAM)
