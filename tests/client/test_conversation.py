import errno
import json
from collections.abc import Collection

import pytest
from harness.fake_daemon import notification, told
from hypothesis import given
from hypothesis import strategies as st

from mailbell.calling.exchange import FOREVER, Exchange, encode_call_checked
from mailbell.calling.explain import (
    BusyError,
    UntrustedError,
    explain_connect,
    explain_end,
    explain_garbage,
    explain_reply,
    explain_silence,
    quote,
)
from mailbell.client._conversation import Backoff, Follower, State
from mailbell.client._mailbelld import MAILBELLD, UnknownAccountError
from mailbell.core.errors import (
    DataError,
    MailbellError,
    PrivilegeError,
    TemporaryError,
    UnavailableError,
    UsageError,
)
from mailbell.core.notification import Cursor
from mailbell.interfaces.listener import (
    Notify,
    Subscribe,
    SubscribeReply,
    too_fast,
    too_many_subscribers,
    unknown_account,
)
from mailbell.interfaces.reply import MAX_EPOCH, STREAM_LIMIT
from mailbell.varlink import (
    CALL_LIMIT,
    REPLY_LIMIT,
    ProtocolError,
    ServiceError,
    encode_error,
    encode_reply,
    invalid_parameter,
)


@given(st.lists(st.floats(0, 100), max_size=40))
def test_waits_double_and_start_anew_after_a_good_connection(lives: list[float]) -> None:
    backoff = Backoff()
    in_a_row = 0
    for lived in lives:
        in_a_row = 0 if lived >= 10 else in_a_row
        assert backoff.next_delay(lived) == pytest.approx(min(0.1 * 2**in_a_row, 10.0))
        in_a_row += 1


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [
        (errno.ENOENT, UnavailableError, 69),
        (errno.ECONNREFUSED, UnavailableError, 69),
        (errno.ENOTSOCK, UnavailableError, 69),
        (errno.EACCES, PrivilegeError, 77),
        (errno.EPERM, PrivilegeError, 77),
        (errno.EAGAIN, BusyError, 75),
        (errno.EINVAL, UsageError, 64),
        (None, UsageError, 64),
    ],
)
def test_every_way_not_to_connect(number: int | None, kind: type[MailbellError], code: int) -> None:
    system = OSError("AF_UNIX path too long") if number is None else OSError(number, "why")
    error = explain_connect({"/some/path": system}, MAILBELLD)
    assert type(error) is kind
    assert error.exit_code == code
    assert "/some/path" in error.what
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("given_error", "kind"),
    [
        (ServiceError("org.varlink.service.PermissionDenied"), PrivilegeError),
        (ServiceError("org.varlink.service.MethodNotFound", {"method": "x"}), DataError),
        (ServiceError("org.mailbell.Listener.Unheard", {}), DataError),
        (ServiceError("", {}), DataError),
        (ServiceError("org.example.\x1b[2J", {}), DataError),
        (ServiceError("org.mailbell.Listener.UnknownAccount", {}), UnknownAccountError),
        (
            ServiceError("org.mailbell.Listener.UnknownAccount", {"account": "\n\x1b"}),
            UnknownAccountError,
        ),
        (ServiceError("org.mailbell.Listener.TooManySubscribers", {"limit": "\n"}), TemporaryError),
    ],
)
def test_error_replies_are_told_in_one_printable_line(
    given_error: ServiceError, kind: type[MailbellError]
) -> None:
    error = explain_reply(given_error, MAILBELLD)
    assert type(error) is kind
    assert str(error).isprintable()


@pytest.mark.parametrize(
    ("given_error", "kind", "said"),
    [
        (
            unknown_account("work"),
            UnknownAccountError,
            "the daemon has no account 'work'; `mailbell status` lists the accounts",
        ),
        (
            too_many_subscribers(64),
            TemporaryError,
            (
                "the daemon accepts no more than 64 subscribers; raise `socket.subscribers`, or try"
                " again"
            ),
        ),
        (
            too_fast(),
            TemporaryError,
            (
                "the daemon refuses more calls of this user for now; try again later, and call less"
                " often"
            ),
        ),
        (
            invalid_parameter("accounts"),
            UsageError,
            "the daemon refuses the parameter 'accounts'",
        ),
        (
            ServiceError("org.varlink.service.PermissionDenied"),
            PrivilegeError,
            "the daemon does not permit this",
        ),
        (
            ServiceError("org.example.TooFast"),
            DataError,
            (
                "the daemon answered with the error 'org.example.TooFast'; check that it is"
                " mailbelld, and has the same version"
            ),
        ),
    ],
)
def test_an_error_reply_is_told_with_what_to_do(
    given_error: ServiceError, kind: type[MailbellError], said: str
) -> None:
    error = explain_reply(given_error, MAILBELLD)
    assert (type(error), str(error)) == (kind, said)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (explain_end(MAILBELLD), "the daemon closed the connection; see its log for the reason"),
        (
            explain_silence(2.50, MAILBELLD),
            (
                "the daemon did not answer within 2.5 seconds; try again; if it stays silent, it"
                " hangs: end it and start it again, as `systemctl restart mailbelld` does"
            ),
        ),
        (
            explain_garbage(ProtocolError("what is no reply"), MAILBELLD),
            (
                "the daemon sent what is no reply; check that it is mailbelld, and has the same"
                " version"
            ),
        ),
    ],
)
def test_what_is_no_reply_is_told_with_what_to_do(error: MailbellError, said: str) -> None:
    assert str(error) == said


@pytest.mark.parametrize(
    ("value", "said"), [("x" * 78, f"'{'x' * 78}'"), ("x" * 79, f"'{'x' * 79}..."), (7, "7")]
)
def test_a_value_is_quoted_up_to_80_characters(value: object, said: str) -> None:
    assert quote(value) == said


def test_a_call_may_be_as_long_as_the_daemon_accepts_and_no_longer() -> None:
    room = CALL_LIMIT + 1 - len(MAILBELLD.interface.encode(Notify("")))
    assert len(encode_call_checked(Notify("x" * room), MAILBELLD)) == CALL_LIMIT + 1
    with pytest.raises(UsageError) as caught:
        encode_call_checked(Notify("x" * (room + 1)), MAILBELLD)
    assert str(caught.value) == (
        "the call has more than 4096 bytes; name fewer accounts, or none for all accounts"
    )


def test_a_name_that_is_no_text_is_no_name() -> None:
    with pytest.raises(UsageError) as caught:
        encode_call_checked(Notify("\udcff"), MAILBELLD)
    assert str(caught.value) == "the name of an account is not valid UTF-8"


def test_an_exchange_checks_what_its_caller_wants_checked() -> None:
    def refuse(_: object) -> None:
        raise ProtocolError("what nobody wants")

    exchange = Exchange(MAILBELLD, check=refuse)
    exchange.receive_untrusted(encode_reply(told("e", 1)))
    with pytest.raises(DataError, match="the daemon sent what nobody wants"):
        exchange.take_untrusted(SubscribeReply)


def test_of_an_accepted_call_only_its_accounts_may_be_unknown_later() -> None:
    kinds = [
        type(explain_reply(unknown_account(each), MAILBELLD, ("work",))) for each in ("work", "x")
    ]
    assert kinds == [UnknownAccountError, DataError]


def test_a_stranger_at_the_socket_is_told_like_a_refusal_of_the_kernel() -> None:
    assert str(UntrustedError(1000, "mailbell")) == "[Errno 1] another user listens there"


@pytest.mark.parametrize(("accepted", "kind"), [(None, UsageError), ((), DataError)])
def test_a_call_that_was_accepted_has_no_wrong_parameter(
    accepted: tuple[str, ...] | None, kind: type[MailbellError]
) -> None:
    exchange = Exchange(MAILBELLD, accepted=accepted)
    exchange.receive_untrusted(encode_error(invalid_parameter("accounts")))
    with pytest.raises(kind):
        exchange.take_untrusted(SubscribeReply)


GONE = UnavailableError("the daemon went away")
SYSTEM, USERS = "/run/mailbell/mailbell.sock", "/run/user/1000/mailbell/mailbell.sock"
ABSENT = FileNotFoundError(errno.ENOENT, "No such file or directory")
DEAD = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
FORBIDDEN = PermissionError(errno.EACCES, "Permission denied")
START = "start it with `systemctl start mailbelld` or `mailbelld`"
ELSEWHERE = "or set MAILBELL_SOCKET to the path of its socket"


@pytest.mark.parametrize(
    ("failures", "cut_off", "kind", "said"),
    [
        (
            {SYSTEM: ABSENT, USERS: ABSENT},
            (),
            UnavailableError,
            f"no daemon at {SYSTEM} or {USERS} (No such file or directory); {START}, {ELSEWHERE}",
        ),
        (
            {SYSTEM: DEAD, USERS: ABSENT},
            (),
            UnavailableError,
            (
                f"no daemon at {SYSTEM} (nothing listens there) or {USERS}"
                f" (No such file or directory); {START}, {ELSEWHERE}"
            ),
        ),
        (
            {SYSTEM: FORBIDDEN, USERS: ABSENT},
            (),
            PrivilegeError,
            (
                f"no permission to connect to {SYSTEM}, and no daemon at {USERS} (No such file or"
                " directory); join the group mailbell"
                " (root: `usermod --append --groups mailbell NAME`), then log in again"
            ),
        ),
        # Which group owns a socket at another place is not known.
        (
            {"/my/s": FORBIDDEN},
            (),
            PrivilegeError,
            (
                "no permission to connect to /my/s; join the group that owns the socket, then log"
                " in again"
            ),
        ),
        # The person has named the place, so the usual places are not in the message.
        (
            {"/my/s": DEAD},
            (),
            UnavailableError,
            f"no daemon at /my/s (nothing listens there); {START}",
        ),
        # A path that is too long must not hide that no daemon is at the other place yet.
        (
            {SYSTEM: ABSENT, "/x": OSError("AF_UNIX path too long")},
            (),
            UnavailableError,
            (
                f"no daemon at {SYSTEM} (No such file or directory),"
                " and '/x' cannot be the path of a socket: AF_UNIX path too long;"
                f" {START}, {ELSEWHERE}"
            ),
        ),
        (
            {SYSTEM: BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")},
            (),
            BusyError,
            (
                f"the daemon at {SYSTEM} is too busy to answer; try again; if it stays silent, it"
                " hangs: end it and start it again, as `systemctl restart mailbelld` does"
            ),
        ),
        (
            {"/my/s": OSError(errno.EIO, "")},
            (),
            UnavailableError,
            f"no daemon at /my/s (the connection broke); {START}",
        ),
        (
            {"": OSError(errno.EINVAL, "Invalid argument")},
            (),
            UsageError,
            (
                "'' cannot be the path of a socket: Invalid argument; write a path of at most 107"
                f" bytes, such as {SYSTEM}"
            ),
        ),
        (
            {SYSTEM: ABSENT, USERS: ABSENT},
            {SYSTEM},
            UnavailableError,
            (
                f"the daemon runs, but nothing reaches it: its socket {SYSTEM} was removed or"
                f" replaced, and no daemon at {USERS} (No such file or directory);"
                " `systemctl restart mailbelld-local.socket`, or end it and start it again"
            ),
        ),
        (
            {SYSTEM: FORBIDDEN, USERS: DEAD},
            {USERS},
            UnavailableError,
            (
                f"the daemon runs, but nothing reaches it: its socket {USERS} was removed or"
                f" replaced, and no permission to connect to {SYSTEM}; end it and start it again"
            ),
        ),
    ],
)
def test_every_place_is_named_and_what_says_most_comes_first(
    failures: dict[str, OSError], cut_off: Collection[str], kind: type[MailbellError], said: str
) -> None:
    error = explain_connect(failures, MAILBELLD, cut_off)
    assert (type(error), str(error)) == (kind, said)


def unknown(account: object) -> bytes:
    text = json.dumps(
        {"error": "org.mailbell.Listener.UnknownAccount", "parameters": {"account": account}}
    )
    return text.encode() + b"\0"


def asked(call: bytes) -> list[str]:
    """The accounts of a call."""
    parameters = json.loads(call.removesuffix(b"\0"))["parameters"]
    return [str(name) for name in parameters.get("accounts") or ()]


def answered(follower: Follower, now: float, answer: bytes) -> list[str]:
    """Connect and take the first answer; return the accounts that were asked for."""
    names = asked(follower.connect(now))
    follower.receive_untrusted(answer)
    try:
        follower.establish_untrusted()
    except MailbellError as error:
        follower.note_loss(error, now)
    return names


def test_an_account_that_the_daemon_lacks_is_left_out_until_the_next_connection() -> None:
    lacks: list[str] = []
    follower = Follower(["a", "b", "c"], None, 10.0, None, on_unknown=lacks.append)
    good = encode_reply(told("e", 1), continues=True)
    assert answered(follower, 0.0, unknown("b")) == ["a", "b", "c"]
    assert follower.retry_at == 0.0
    assert answered(follower, 0.0, unknown("a")) == ["a", "c"]
    assert answered(follower, 0.0, good) == ["c"]
    assert (lacks, follower.established) == (["b", "a"], True)
    follower.note_loss(GONE, 20.0)
    assert follower.retry_at > 20.0
    assert answered(follower, 21.0, good) == ["a", "b", "c"]
    assert (lacks, follower.established) == (["b", "a"], True)


def test_a_daemon_that_lacks_all_accounts_is_an_error_and_then_asked_for_all_again() -> None:
    lacks: list[str] = []
    retries: list[MailbellError] = []

    def retry(error: MailbellError) -> bool:
        retries.append(error)
        return True

    follower = Follower(["a", "b"], None, 10.0, None, retry=retry, on_unknown=lacks.append)
    for now in (0.0, 20.0):
        assert answered(follower, now, unknown("a")) == ["a", "b"]
        assert answered(follower, now, unknown("b")) == ["b"]
        assert follower.retry_at > now
    assert [type(error) for error in retries] == [UnknownAccountError] * 2
    follower = Follower(["a"], None, 10.0, None, on_unknown=lacks.append)
    with pytest.raises(UsageError, match="no account 'a'"):
        answered(follower, 0.0, unknown("a"))


@pytest.mark.parametrize("account", ["x", "", None, 7, {}, ["a"], "a\n"])
def test_a_daemon_that_complains_of_what_was_not_asked_is_not_believed(account: object) -> None:
    follower = Follower(["a", "b"], None, 10.0, None, on_unknown=lambda _: pytest.fail("told"))
    with pytest.raises(MailbellError):
        answered(follower, 0.0, unknown(account))


def test_nor_is_one_that_complains_twice_or_late() -> None:
    lacks: list[str] = []
    follower = Follower(["a", "b", "c"], None, 10.0, None, on_unknown=lacks.append)
    answered(follower, 0.0, unknown("a"))
    with pytest.raises(UsageError):
        answered(follower, 0.0, unknown("a"))
    follower = Follower(["a", "b"], None, 10.0, None, on_unknown=lacks.append)
    answered(follower, 0.0, encode_reply(told("e", 1), continues=True))
    follower.receive_untrusted(unknown("a"))
    with pytest.raises(UsageError) as caught:
        follower.take_untrusted()
    with pytest.raises(UsageError):
        follower.note_loss(caught.value, 1.0)
    assert lacks == ["a"]


ANSWERS = [told("e", 1), told("e", 2, notification("a")), told("e", 4, notification("b"))]
STREAM = b"".join(encode_reply(one, continues=True) for one in ANSWERS)


@given(st.lists(st.integers(0, len(STREAM)), max_size=8).map(sorted))
def test_the_conversation_does_not_depend_on_the_pieces(cuts: list[int]) -> None:
    exchange = Exchange(MAILBELLD)
    taken: list[SubscribeReply] = []
    for start, end in zip([0, *cuts], [*cuts, len(STREAM)], strict=True):
        if start != end:
            exchange.receive_untrusted(STREAM[start:end])
        while exchange.ready:
            taken.append(exchange.take_untrusted(SubscribeReply)[0])
    assert taken == ANSWERS


@given(st.binary(max_size=200))
def test_any_bytes_end_in_an_answer_or_a_data_error(data: bytes) -> None:
    exchange = Exchange(MAILBELLD)
    exchange.receive_untrusted(data + b"\0")
    while exchange.ready:
        try:
            exchange.take_untrusted(SubscribeReply)
        except DataError:
            return
        except MailbellError:  # the bytes were a valid error reply
            assert b"error" in data


def test_what_came_before_an_endless_message_counts() -> None:
    exchange = Exchange(MAILBELLD)
    exchange.receive_untrusted(STREAM + b"x" * (REPLY_LIMIT + 1))
    assert [exchange.take_untrusted(SubscribeReply)[0] for _ in ANSWERS] == ANSWERS
    assert exchange.ready
    with pytest.raises(DataError, match="more than 1048576 bytes"):
        exchange.take_untrusted(SubscribeReply)


def test_a_last_answer_is_the_end_even_with_a_notification() -> None:
    follower = Follower([], None, 10.0, None)
    follower.connect(0.0)
    follower.receive_untrusted(encode_reply(told("e", 1), continues=True))
    follower.establish_untrusted()
    follower.receive_untrusted(encode_reply(told("e", 2, notification())))
    with pytest.raises(UnavailableError, match="closed the connection"):
        follower.take_untrusted()
    assert follower.cursor == Cursor("e", 1)


def test_a_follower_from_end_to_end() -> None:
    states: list[State] = []
    follower = Follower(["a"], Cursor("d", 9), 10.0, states.append)
    assert follower.patience == FOREVER
    assert b'"after":{"epoch":"d","sequence":9}' in follower.connect(100.0)
    assert follower.patience == 110.0
    follower.receive_untrusted(encode_reply(told("e", 2, notification("a")), continues=True))
    follower.establish_untrusted()
    assert follower.patience == FOREVER
    assert follower.cursor == Cursor("d", 9)
    # It was lost before the caller got it, so the client asks for it again.
    follower.note_loss(GONE, 101.0)
    with pytest.raises(IndexError):  # no bytes of the old connection are kept
        follower.take_untrusted()
    assert follower.retry_at == pytest.approx(101.1)
    assert b'"after":{"epoch":"d","sequence":9}' in follower.connect(102.0)
    follower.receive_untrusted(STREAM)
    follower.establish_untrusted()
    assert follower.cursor == Cursor("e", 1)
    assert follower.take_untrusted() == notification("a")
    assert follower.cursor == Cursor("e", 2)
    assert states == [State.CONNECTED, State.LOST, State.CONNECTED]
    follower.note_loss(GONE, 112.0)  # the connection lasted for 10 s
    assert follower.retry_at == pytest.approx(112.1)
    follower.note_loss(GONE, 113.0)  # the connection could not be made
    assert follower.retry_at == pytest.approx(113.2)
    assert states[-2:] == [State.CONNECTED, State.LOST]


WRONG = UsageError("the daemon has no account 'work'")


@pytest.mark.parametrize("found", [False, True])
@pytest.mark.parametrize("reconnect", [False, True])
@pytest.mark.parametrize(
    ("error", "passes"),
    [(GONE, True), (TemporaryError("x"), True), (PrivilegeError("x"), True), (WRONG, False),
     (DataError("x"), True)],
)  # fmt: skip
def test_it_tries_again_what_passes_for_a_daemon_that_was_there(
    found: bool, reconnect: bool, error: MailbellError, passes: bool
) -> None:
    follower = Follower([], None, 10.0, None, reconnect=reconnect)
    follower.connect(0.0)
    if found:
        follower.receive_untrusted(STREAM)
        follower.establish_untrusted()
    if found and reconnect and passes:
        follower.note_loss(error, 1.0)
        assert follower.retry_at == pytest.approx(1.1)
        return
    with pytest.raises(type(error)) as caught:
        follower.note_loss(error, 1.0)
    assert caught.value is error


def test_whoever_decides_by_themselves_is_asked_each_time() -> None:
    asked: list[MailbellError] = []

    def until_the_third(error: MailbellError) -> bool:
        asked.append(error)
        return len(asked) < 3

    states: list[State] = []
    follower = Follower([], None, 10.0, states.append, reconnect=False, retry=until_the_third)
    follower.note_loss(GONE, 0.0)  # there was no connection yet
    follower.connect(0.1)
    follower.receive_untrusted(STREAM)
    follower.establish_untrusted()
    follower.note_loss(WRONG, 0.2)
    assert follower.retry_at == pytest.approx(0.4)
    with pytest.raises(UnavailableError):
        follower.note_loss(GONE, 0.3)
    assert asked == [GONE, WRONG, GONE]
    assert states == [State.CONNECTED, State.LOST]


def test_one_name_is_no_sequence_of_names() -> None:
    with pytest.raises(TypeError, match=r"^accounts: a sequence of names, not one name$"):
        Follower("work", None, 10.0, None)


def test_the_states_have_names() -> None:
    assert list(State) == ["connected", "lost"]


def test_a_follower_begins_without_a_connection_and_connects_at_once() -> None:
    follower = Follower(["a"], None, 10.0, None)
    assert (follower.established, follower.ready, follower.cursor) == (False, False, None)
    assert (follower.retry_at, follower.failure) == (0.0, None)


def test_a_connection_that_ends_soon_makes_the_next_wait_longer() -> None:
    follower = Follower([], None, 10.0, None)
    for now, retry_at in ((100.0, 101.1), (200.0, 201.2), (300.0, 301.4)):
        follower.connect(now)
        follower.receive_untrusted(STREAM)
        follower.establish_untrusted()
        assert follower.failure is None
        follower.note_loss(GONE, now + 1.0)
        assert follower.retry_at == pytest.approx(retry_at)
        assert follower.failure is GONE


@pytest.mark.parametrize(
    ("accepted", "lost", "kind"),
    [
        (False, False, UsageError),
        (False, True, UsageError),
        (True, False, DataError),
        (True, True, DataError),
    ],
)
def test_a_daemon_has_accepted_the_call_or_may_refuse_it(
    accepted: bool, lost: bool, kind: type[MailbellError]
) -> None:
    follower = Follower(["a"], None, 10.0, None, retry=lambda _: True)
    follower.connect(0.0)
    if accepted:
        follower.receive_untrusted(encode_reply(told("e", 1), continues=True))
        follower.establish_untrusted()
    if lost:
        follower.note_loss(GONE, 1.0)
        follower.connect(2.0)
    follower.receive_untrusted(encode_error(invalid_parameter("accounts")))
    with pytest.raises(kind):
        follower.take_untrusted()


def test_a_call_that_the_daemon_would_not_take_is_not_tried_again() -> None:
    with pytest.raises(UsageError, match="name fewer accounts"):
        Follower(["x" * 64] * 100, None, 10.0, None, retry=lambda _: True)


@pytest.mark.parametrize(
    ("epoch", "sequence"),
    [("e" * (MAX_EPOCH + 1), 1), ("e", -2), ("", 1), ('"' * MAX_EPOCH, 1), ("e\n", 1), ("\xe9", 1)],
)
def test_a_cursor_that_no_daemon_accepts_is_not_kept(epoch: str, sequence: int) -> None:
    """What one daemon said must not keep the next daemon from accepting the call."""
    follower = Follower(["x" * 64] * 32, None, 10.0, None, retry=lambda _: True)
    follower.connect(0.0)
    follower.receive_untrusted(encode_reply(told("good", 7), continues=True))
    follower.establish_untrusted()
    follower.receive_untrusted(
        encode_reply(told(epoch, sequence, notification("x")), continues=True)
    )
    with pytest.raises(
        DataError, match="the daemon sent a cursor that no daemon accepts"
    ) as caught:
        follower.take_untrusted()
    follower.note_loss(caught.value, 1.0)
    assert follower.failure is caught.value
    assert follower.cursor == Cursor("good", 7)
    assert b'"after":{"epoch":"good","sequence":7}' in follower.connect(2.0)


def test_no_cursor_makes_a_call_too_long() -> None:
    """The call is checked with the longest cursor, before a daemon has given any."""
    names, longest = ("x" * 64,) * 58, Cursor("e" * MAX_EPOCH, 2**63 - 1)
    room = CALL_LIMIT + 1 - len(MAILBELLD.interface.encode(Subscribe((*names, ""), longest)))
    with pytest.raises(UsageError, match="name fewer accounts"):
        Follower([*names, "y" * (room + 1)], None, 10.0, None)
    follower = Follower([*names, "y" * room], None, 10.0, None)
    follower.connect(0.0)
    follower.receive_untrusted(encode_reply(told(longest.epoch, longest.sequence), continues=True))
    follower.establish_untrusted()
    follower.note_loss(GONE, 3.0)
    assert b'"after"' in follower.connect(4.0)


@pytest.mark.parametrize("after", [Cursor("e" * 5000, 1), Cursor("e", -5), Cursor("e", 1 << 63)])
def test_a_cursor_that_a_program_stored_is_looked_at_too(after: Cursor) -> None:
    with pytest.raises(UsageError, match=r"^`after` is no cursor of mailbelld; leave it out$"):
        Follower([], after, 10.0, None)


def test_after_the_last_notification_nothing_is_ready() -> None:
    follower = Follower([], None, 10.0, None)
    follower.connect(0.0)
    ready = [follower.ready]
    follower.receive_untrusted(encode_reply(told("e", 2, notification("a")), continues=True))
    ready.append(follower.ready)
    follower.establish_untrusted()
    ready.append(follower.ready)
    assert follower.take_untrusted() == notification("a")
    assert [*ready, follower.ready] == [False, True, True, False]


@pytest.mark.parametrize("lost", [False, True])
def test_an_answer_on_a_subscription_is_short(lost: bool) -> None:
    follower = Follower([], None, 10.0, None, retry=lambda _: True)
    if lost:
        follower.note_loss(GONE, 0.0)
    follower.connect(0.0)
    follower.receive_untrusted(b"x" * (STREAM_LIMIT + 1))
    with pytest.raises(DataError, match="more than 16384 bytes"):
        follower.establish_untrusted()
