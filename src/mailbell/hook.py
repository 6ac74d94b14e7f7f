#!/usr/bin/python3 -ISXutf8
"""The command mailbell-hook: a delivery or a login tells mailbell-sender, and does not wait for it.

    mailbell-hook [--socket=PATH] [--folder=NAME] [--unless-spam] [--account=NAME | ACCOUNT]
    mailbell-hook [--socket=PATH] [--folder=NAME] [--account=NAME | ACCOUNT] -- COMMAND [ARG...]
    mailbell-hook [--socket=PATH] --login [--account=NAME | ACCOUNT] [-- COMMAND [ARG...]]

Without a command it ends with 0 whatever happens. Many mail servers answer another code with a
second delivery, or report to the sender that the mail was not delivered. With `--` among the
arguments the command delivers the mail, so it ends with 75 if it executes none: 0 would lose the
mail. docs/hook.md describes the command.

This file is the installed program. It imports nothing of ours, and of Python only what the
interpreter has loaded or built in. It runs with CPython 3.9 and later. The interpreter compiles
it at each start, so shorter code starts faster. With -X utf8, which its first line has, the
interpreter takes arguments in every locale so that their bytes can be had back (PEP 540).
"""

import _signal
import _socket
import posix
import sys
import time
from posix import _exit

# True for type checkers alone. The module typing takes longer to load than all of this file.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    _Handler = Callable[[int, object], None]

# No variable changes the path: the sender of a mail may choose variables of its delivery.
_SOCKET = b"/run/mailbell-sender/hook"
# Bytes of a line that mailbell-sender takes. The LF is one of them.
_LONGEST_LINE = 512
_LOG = "/dev/log"
# RFC 3164, 4.1.1: facility 2 (mail), severity 4 (warning).
_PRIORITY = 2 << 3 | 4
# RFC 3164, 4.1: at most 1024 bytes, and a relay may add to them.
_LONGEST_MESSAGE = 900
# Bounds of reading standard input: seconds, bytes, bytes of the header, bytes of one read. Some
# filters put their mark at the header's end. Exim takes headers of 1 MiB, others take less.
_SECONDS = 1.0
_MOST = 64 << 20
_HEADER = 1 << 20
_CHUNK = 64 << 10
# The pause before the next read of a pipe that the mail server made non-blocking, in seconds.
_PAUSE = 0.01
# sysexits.h, EX_TEMPFAIL: the mail server keeps the mail and tries again.
_TRY_AGAIN = 75
# Options with a value. It is the next argument, or stands after a `=`.
_VALUED = (b"--account", b"--folder", b"--socket")
# What CPython may have set LC_CTYPE to (PEP 538).
_COERCED = (b"C.UTF-8", b"C.utf8", b"UTF-8")
# Fields with which a filter marks a mail, and how the value begins; both in lower case.
_MARKS = {b"x-spam-flag": b"yes", b"x-spam-status": b"yes", b"x-virus-status": b"infected"}


class _NotSentError(Exception):
    """The message says why, without any word of the environment."""


def main(words: "list[bytes]") -> None:
    """Send one line, then execute the command or read standard input to its end.

    Args:
        words: the arguments.
    """
    end = _separator(words)
    arguments, command = words[:end], words[end + 1 :]
    given: Container[bytes] = arguments
    left = _SECONDS
    try:
        given = options = _options(arguments)
        path, line = options.get(b"--socket", _SOCKET), _line(options)
        if b"--unless-spam" not in options:
            _send(path, line)
        elif command:
            raise _NotSentError("--unless-spam would take the mail away from the command")
        else:
            left = _send_unless_marked(path, line)
    except BaseException as failure:  # the command is executed all the same
        _log(f"not sent: {_reason(failure)}")
    if command:
        _execute(command)
        return
    if b"--" in words:
        _log("not executed: no command follows --")
    if end >= len(words) and b"--login" not in given:
        _drain(left)


# --- what is sent ---------------------------------------------------------------


def _separator(words: "list[bytes]") -> int:
    """Return the place of the `--` before the command, or any place after the last argument.

    The value of an option is never that `--`: the sender of a mail may choose the value.
    """
    place = 0
    while place < len(words) and words[place] != b"--":
        place += 2 if words[place] in _VALUED else 1
    return place


def _options(arguments: "list[bytes]") -> "dict[bytes, bytes]":
    """Return each option with its value, and the account under the empty name."""
    found: dict[bytes, bytes] = {}
    rest = iter(arguments)
    for word in rest:
        name, value = _option(word, rest)
        if name in found:
            raise _NotSentError(f"{_shown(name) if name else 'the account'} is given twice")
        found[name] = value
    if b"--login" in found and (b"--folder" in found or b"--unless-spam" in found):
        raise _NotSentError("--login reads no mail and has no folder")
    return found


def _option(word: bytes, rest: "Iterator[bytes]") -> "tuple[bytes, bytes]":
    """Return the name of an option and its value, which may be the next argument."""
    name, attached, value = word.partition(b"=")
    if name in _VALUED:
        value = value if attached else next(rest, b"")
        if not value:
            raise _NotSentError(f"{_shown(name)} needs a value")
        return b"" if name == b"--account" else name, value
    if word[:1] != b"-":
        return b"", word
    if word not in (b"--login", b"--unless-spam"):
        # Its text may be an account.
        raise _NotSentError("an argument begins with - and is no option")
    return word, b""


def _line(options: "dict[bytes, bytes]") -> bytes:
    """Return the line, with its LF."""
    if b"--login" in options:
        words = [b"seen", *_login(options.get(b""))]
    else:
        words = [b"new", _word("the account", _account(options.get(b"")))]
        if b"--folder" in options:
            words.append(_text("the folder", options[b"--folder"]))
    line = b" ".join(words) + b"\n"
    if len(line) > _LONGEST_LINE:
        raise _NotSentError(f"the line would have more than {_LONGEST_LINE} bytes")
    return line


def _account(given: "bytes | None") -> bytes:
    if given is not None:
        return given
    for name in (b"RECIPIENT", b"LOGNAME", b"USER"):
        if posix.environ.get(name):
            return posix.environ[name]
    raise _NotSentError("no account is given, and RECIPIENT, LOGNAME and USER are not set")


def _login(given: "bytes | None") -> "tuple[bytes, bytes]":
    """Return the account and its address: Dovecot's variables, else Courier's."""
    for user, address in ((b"USER", b"IP"), (b"AUTHENTICATED", b"TCPREMOTEIP")):
        account = posix.environ.get(user) if given is None else given
        if account is not None and posix.environ.get(address):
            return _word("the account", account), _word("the address", posix.environ[address])
    raise _NotSentError("neither USER and IP nor AUTHENTICATED and TCPREMOTEIP are set")


def _word(what: str, value: bytes) -> bytes:
    if b" " in _text(what, value):
        raise _NotSentError(f"{what} has a space in it")
    return value


def _text(what: str, value: bytes) -> bytes:
    # A line has no other place for a line feed than its end.
    try:
        is_text = value.decode().isprintable()
    except UnicodeDecodeError:
        is_text = False
    if not value or not is_text:
        raise _NotSentError(f"{what} is empty or not printable UTF-8")
    return value


def _send(path: bytes, line: bytes) -> None:
    try:
        try:
            _say(path, line)
        except (BrokenPipeError, ConnectionResetError):
            # The sender ended in this moment. A service manager holds the socket for the next one.
            _say(path, line)
    except OSError as error:
        _log(f"not sent: {_shown(path)}: {_reason(error)}; run: mailbell sender check")


def _say(path: bytes, line: bytes) -> None:
    # unix(7): with a non-blocking socket, a full queue of connections is EAGAIN at once.
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK)
    try:
        connection.connect(path)
        connection.send(line)
    finally:
        connection.close()


# --- standard input ---------------------------------------------------------------


def _send_unless_marked(path: bytes, line: bytes) -> float:
    """Send the line if no filter has marked the mail; return the seconds left for reading."""
    header = bytearray()

    def send() -> None:
        if not _is_marked(bytes(header)):
            _send(path, line)

    def send_and_end(_number: int, _frame: object) -> None:
        send()  # the rest of the header did not come in time
        _exit(_code())

    _limit(_SECONDS, send_and_end)
    _read_header(header)
    left: float = _signal.setitimer(_signal.ITIMER_REAL, 0)[0]
    send()
    return left


def _read_header(header: bytearray) -> None:
    # The empty line at its end may come in two parts.
    tail = b"\n"
    try:
        while len(header) < _HEADER and b"\n\n" not in tail.replace(b"\r", b""):
            chunk = _read(min(_CHUNK, _HEADER - len(header)))
            if not chunk:
                break
            header += chunk
            tail = tail[-3:] + chunk
        # A file stays as it was, for the next program that reads it. A pipe refuses this.
        posix.lseek(0, -len(header), 1)
    except OSError:
        pass


def _is_marked(header: bytes) -> bool:
    """Tell whether a filter has marked a mail as spam or as infected.

    Args:
        header: the beginning of the mail; what stands after the first empty line does not count.
    """
    text = b"\n" + header.lower().replace(b"\r\n", b"\n")
    # RFC 5322, 2.2.3: a line that begins with a space or a tab continues the field.
    unfolded = text.partition(b"\n\n")[0].replace(b"\n ", b" ").replace(b"\n\t", b" ")
    for field in unfolded.split(b"\n"):
        name, _, value = field.partition(b":")
        mark = _MARKS.get(name.rstrip())
        if mark and value.lstrip().startswith(mark):
            return True
    return False


def _drain(seconds: float) -> None:
    """Read standard input to its end if it is a pipe, so that the mail server can write it."""
    try:
        if posix.fstat(0).st_mode & 0o170000 != 0o010000:
            return
        _limit(seconds, _end)
        left = _MOST
        while left > 0:
            chunk = _read(_CHUNK)
            if not chunk:
                return
            left -= len(chunk)
    except OSError:
        pass  # there is none


def _read(size: int) -> bytes:
    while True:
        try:
            return posix.read(0, size)
        except BlockingIOError:
            time.sleep(_PAUSE)


def _limit(seconds: float, late: "_Handler") -> None:
    # The mail server may have ignored or blocked the signal.
    _signal.signal(_signal.SIGALRM, late)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGALRM,))
    # Zero would mean no limit.
    _signal.setitimer(_signal.ITIMER_REAL, max(seconds, 0.001))


# --- the command ------------------------------------------------------------------


def _execute(command: "list[bytes]") -> None:
    """Execute the command with the environment and the descriptors of this process.

    Returns:
        only if it cannot be executed.
    """
    # CPython ignores these two when it starts. It does not say what they were before.
    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
    _signal.signal(_signal.SIGXFSZ, _signal.SIG_DFL)
    try:
        _restore_locale()
    except Exception as failure:  # the command is executed all the same
        _log(f"LC_CTYPE is not restored: {_reason(failure)}")
    program, reason = command[0], ""
    folders = [b""]
    if b"/" not in program:
        path = posix.environ.get(b"PATH", b"/usr/bin:/bin")
        folders = [folder + b"/" for folder in path.split(b":") if folder]
    for folder in folders:
        try:
            posix.execv(folder + program, command)
        except (OSError, ValueError) as failure:
            reason = _reason(failure)
    _log(f"not executed: {_shown(program)}: {reason}")


def _restore_locale() -> None:
    # PEP 538: in the locale C, CPython changes LC_CTYPE in its own environment.
    if posix.environ.get(b"LC_ALL") or posix.environ.get(b"LC_CTYPE") not in _COERCED:
        return
    for entry in _first_environment().split(b"\0"):
        if entry.startswith(b"LC_CTYPE="):
            posix.putenv(b"LC_CTYPE", entry[9:])
            return
    posix.unsetenv(b"LC_CTYPE")


def _first_environment() -> bytes:
    """Return the environment with which the kernel started this process; empty without /proc."""
    found = b""
    try:
        file = posix.open("/proc/self/environ", posix.O_RDONLY | posix.O_CLOEXEC)
        while True:
            chunk = posix.read(file, _CHUNK)
            if not chunk:
                break
            found += chunk
        posix.close(file)
    except OSError:
        pass
    return found


# --- failures -----------------------------------------------------------------------


def _shown(word: bytes) -> str:
    return ascii(word[:100])[1:]


def _reason(failure: BaseException) -> str:
    if isinstance(failure, _NotSentError):
        return str(failure)
    if isinstance(failure, OSError) and failure.strerror:
        return failure.strerror
    return type(failure).__name__


def _log(text: str) -> None:
    """Send one line to the system's log, if the log takes it at once."""
    # As syslog(3) of glibc: a datagram, else a stream in which each line ends in NUL.
    if not _is_logged(text, _socket.SOCK_DGRAM, b""):
        _is_logged(text, _socket.SOCK_STREAM, b"\0")


def _is_logged(text: str, kind: int, end: bytes) -> bool:
    try:
        line = f"<{_PRIORITY}>{time.ctime()[4:19]} mailbell-hook[{posix.getpid()}]: {text}"
        log = _socket.socket(_socket.AF_UNIX, kind | _socket.SOCK_NONBLOCK)
        log.connect(_LOG)
        log.send(line.encode("ascii", "backslashreplace")[:_LONGEST_MESSAGE] + end)
    except Exception:  # there is no other place to tell of it
        return False
    return True


def _code() -> int:
    """Return the code to end with if no command is executed."""
    # Not only the `--` before a command counts: `--folder $NAME -- COMMAND` without quotes, where
    # NAME is empty, has one that is a value, and a mail to deliver all the same.
    return _TRY_AGAIN if "--" in sys.argv else 0


def _end(_number: int, _frame: object) -> None:
    _exit(_code())


def _end_by_signal() -> None:
    """Let the signals that end a process end this one with the same code as everything else."""
    for number in (
        _signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGUSR1, _signal.SIGUSR2,
        _signal.SIGALRM, _signal.SIGTERM, _signal.SIGXCPU, _signal.SIGVTALRM, _signal.SIGPROF,
        _signal.SIGIO,
    ):  # fmt: skip
        # What is ignored stays ignored, for the command too.
        if _signal.getsignal(number) != _signal.SIG_IGN:
            _signal.signal(number, _end)


if __name__ == "__main__":
    try:
        _end_by_signal()
        encoding = sys.getfilesystemencoding()
        main([word.encode(encoding, "surrogateescape") for word in sys.argv[1:]])
    finally:
        # Not sys.exit(): it would flush standard output, and could fail there.
        _exit(_code())
