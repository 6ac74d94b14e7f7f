"""What a person is told when a program ends, and the exit code of each kind of error."""

import errno
import os
import pickle

import pytest

from mailbell.core import errors
from mailbell.core.errors import (
    ConfigurationError,
    InternalError,
    MailbellError,
    Problem,
    find_refusal,
)

# sysexits(3head)
CODES = {
    "MailbellError": os.EX_SOFTWARE,
    "UsageError": os.EX_USAGE,
    "DataError": os.EX_DATAERR,
    "UnavailableError": os.EX_UNAVAILABLE,
    "InternalError": os.EX_SOFTWARE,
    "OperatingSystemError": os.EX_OSERR,
    "TemporaryError": os.EX_TEMPFAIL,
    "PrivilegeError": os.EX_NOPERM,
    "ConfigurationError": os.EX_CONFIG,
}


def test_each_error_has_the_exit_code_of_its_kind() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    found = {kind.__name__: kind.exit_code for kind in kinds if issubclass(kind, MailbellError)}
    assert found == CODES


@pytest.mark.parametrize("name", CODES)
def test_an_error_is_what_is_wrong_and_what_to_do(name: str) -> None:
    kind = getattr(errors, name)
    error = kind("the port is taken", "stop it")
    assert (error.what, error.remedy) == ("the port is taken", "stop it")
    assert str(error) == "the port is taken; stop it"
    assert error.args == ("the port is taken", "stop it")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.what, again.remedy) == (kind, "the port is taken", "stop it")


@pytest.mark.parametrize("name", CODES)
def test_without_a_remedy_only_a_bug_has_one(name: str) -> None:
    error = getattr(errors, name)("the port is taken")
    remedy = "report this" if name == "InternalError" else ""
    assert error.remedy == remedy
    assert error.args[:2] == ("the port is taken", remedy)
    assert str(error) == ("the port is taken; report this" if remedy else "the port is taken")
    assert isinstance(error, InternalError) == bool(remedy)


def test_a_problem_has_its_place_if_there_is_one() -> None:
    assert str(Problem("limits.rate", "write a number")) == "limits.rate: write a number"
    assert str(Problem("", "write a number")) == "write a number"


def test_a_wrong_configuration_has_its_problems() -> None:
    problems = (Problem("a", "b"), Problem("c", "d"))
    assert ConfigurationError("two problems", "mend them", problems).problems == problems
    assert ConfigurationError("one").problems == ()


def refused(number: int) -> OSError:
    return OSError(number, "refused")


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def handled(error: Exception, before: Exception) -> Exception:
    error.__context__ = before
    return error


@pytest.mark.parametrize(
    "error",
    [
        refused(errno.ENOMEM),
        ExceptionGroup("", [ExceptionGroup("", [refused(errno.ENOBUFS)])]),
        ExceptionGroup("", [AssertionError(), refused(errno.ENOSPC)]),
        caused(RuntimeError("internal"), ExceptionGroup("", [refused(errno.ECONNRESET)])),
        # Trio tries to watch a descriptor in two ways.
        handled(FileExistsError(errno.EEXIST, "again"), refused(errno.ENOSPC)),
    ],
)
def test_what_the_system_refuses_is_found_wherever_it_is(error: Exception) -> None:
    assert find_refusal(error) == "refused"


def test_an_error_without_words_is_named() -> None:
    assert find_refusal(OSError("as a library has it")) == "OSError('as a library has it')"


@pytest.mark.parametrize(
    "error",
    [
        None,
        ZeroDivisionError(),
        refused(errno.EBADF),
        ExceptionGroup("", [AssertionError()]),
        handled(FileExistsError(errno.EEXIST, "again"), refused(errno.EINVAL)),
        handled(FileExistsError(errno.EEXIST, "again"), KeyError()),
        handled(refused(errno.EINVAL), refused(errno.ENOENT)),
        handled(KeyError("a bug in the handling of"), refused(errno.ENOSPC)),
    ],
)
def test_an_error_that_only_a_bug_can_cause_is_no_refusal(error: Exception | None) -> None:
    assert find_refusal(error) is None
