"""A policy is read exactly, or refused with everything that is wrong in it."""

from pathlib import Path

import pytest

from mailbell.core.errors import ConfigurationError
from mailbell.syscalls.call_numbers import ERRORS
from mailbell.syscalls.policy import ALL_BITS, ALLOW, KILL, Condition, Policy, Unknown, Value
from mailbell.syscalls.policy_toml import MAX_BYTES, parse

SHIPPED = sorted((Path(__file__).parents[2] / "policy" / "syscalls").glob("*.toml"))
HEAD = """
program = "test"
[unknown]
newest = 450
until = 500
answer = "ENOSYS"
reason = "newer"
"""
LOW = (1 << 32) - 1
BOTH = "has args or within for the same argument: leave it out of their values"
KEYS = "allow, deny, placeholders, program, unknown"
ALLOW_KEYS = "args, calls, else, except, reason, unused, within"


def read(body: str) -> Policy:
    return parse((HEAD + body).encode())


def problems(text: str | bytes) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse(text if isinstance(text, bytes) else text.encode())
    assert caught.value.exit_code == 78
    assert str(caught.value.problems[0]) in str(caught.value)
    assert all(isinstance(problem.path, str) for problem in caught.value.problems)
    return list(map(str, caught.value.problems))


def body_problems(body: str) -> list[str]:
    return problems(HEAD + body)


def args(form: str) -> Condition:
    made = read(f'[[allow]]\ncalls = ["read"]\nreason = "because"\nargs.1 = {form}')
    return made.entries[0].conditions[0]


def args_problems(form: str, more: str = "") -> list[str]:
    text = f'[[allow]]\ncalls = ["read"]\nreason = "because"\nargs.1 = {form}\n{more}'
    return [problem.removeprefix("allow[0].args.") for problem in body_problems(text)]


def test_head() -> None:
    made = read("")
    assert made.program == "test"
    assert made.unknown == Unknown(450, 500, made.unknown.action, "newer")
    assert (made.unknown.action.name, made.unknown.action.errno) == ("ENOSYS", 38)
    assert made.entries == ()


def test_entries() -> None:
    made = read("""
        [[allow]]
        calls = ["read", "write"]
        args.5 = [1]
        args.0 = [0]
        else = "EBADF"
        reason = " because "
        unused = "write: never "
        [[deny]]
        calls = ["open"]
        answer = "EACCES"
        reason = "why not"
        """)
    first, second = made.entries
    assert (first.calls, first.action, first.otherwise.name) == (("read", "write"), ALLOW, "EBADF")
    assert [condition.argument for condition in first.conditions] == [0, 5]
    assert (first.reason, first.unused) == ("because", "write: never")
    assert second.unused == ""
    assert (second.calls, second.action.errno, second.otherwise) == (("open",), 13, KILL)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("[0, 7]", Condition(1, LOW, (Value("0", 0), Value("7", 7)))),
        ("[-1]", Condition(1, LOW, (Value("-1", LOW),))),
        ("[-2147483648]", Condition(1, LOW, (Value("-2147483648", 1 << 31),))),
        ('["FIONBIO"]', Condition(1, LOW, (Value("FIONBIO", 0x5421),))),
        ('["PROT_READ|PROT_WRITE"]', Condition(1, LOW, (Value("PROT_READ|PROT_WRITE", 3),))),
        ("{ equals = 0, width = 64 }", Condition(1, ALL_BITS, (Value("0", 0),))),
        ("{ equals = [1, 2] }", Condition(1, LOW, (Value("1", 1), Value("2", 2)))),
        ('{ mask = "PROT_EXEC", equals = 0 }', Condition(1, 4, (Value("0", 0),))),
        ("{ mask = 12, equals = [8], width = 32 }", Condition(1, 12, (Value("8", 8),))),
    ],
)
def test_forms_of_a_condition(form: str, expected: Condition) -> None:
    assert args(form) == expected


def test_placeholders() -> None:
    made = parse(
        b'placeholders = { FD = "a descriptor" }\n'
        + HEAD.encode()
        + b'[[allow]]\ncalls = ["read"]\nargs.0 = ["FD", 0]\nreason = "because"'
    )
    assert made.placeholders == {"FD": "a descriptor"}
    assert made.entries[0].conditions[0].values == (Value("FD", None), Value("0", 0))


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("7", ["1: must be a list of values, or { mask, equals, width }"]),
        ("[]", ["1.equals: must name at least one value"]),
        ('["FIOBIO"]', ["1.equals: 'FIOBIO' is not a known constant"]),
        ('["PROT_READ|"]', ["1.equals: '' is not a known constant"]),
        ("[true]", ["1.equals: must hold integers and names of constants only"]),
        ("[1.0]", ["1.equals: must hold integers and names of constants only"]),
        ("{ }", ["1.equals: must hold integers and names of constants only"]),
        ("[1, 1]", ["1.equals: names the same value twice"]),
        ('[1, "PROT_READ"]', ["1.equals: names the same value twice"]),
        ("[-1, 0xffffffff]", ["1.equals: names the same value twice"]),
        ("[0x100000000]", ["1.equals: holds an integer of more than 32 bits"]),
        ("[-2147483649]", ["1.equals: holds an integer of more than 32 bits"]),
        (f"[0x{'f' * 9000}]", ["1.equals: holds an integer of more than 32 bits"]),
        ("{ equals = 0, width = 33 }", ["1.width: must be 32 or 64"]),
        (
            "{ equals = 0x1ffffffff, width = 33 }",
            ["1.width: must be 32 or 64", "1.equals: holds an integer of more than 32 bits"],
        ),
        ("{ equals = 0, width = 32.0 }", ["1.width: must be 32 or 64"]),
        ("{ equals = 0, width = [] }", ["1.width: must be 32 or 64"]),
        ("{ equals = 0, mask = 0 }", ["1.mask: must not be zero or a placeholder"]),
        (
            '{ equals = 0, mask = "FIOBIO" }',
            [
                "1.mask: 'FIOBIO' is not a known constant",
                "1.mask: must not be zero or a placeholder",
            ],
        ),
        # What is no value of the argument is not blamed for its bits too.
        ('{ equals = "FIOBIO", mask = 4 }', ["1.equals: 'FIOBIO' is not a known constant"]),
        (
            "{ equals = true, mask = 4 }",
            ["1.equals: must hold integers and names of constants only"],
        ),
        (
            "{ equals = 0x100000000, mask = 4 }",
            ["1.equals: holds an integer of more than 32 bits"],
        ),
        (
            "{ equals = 1, mask = 4 }",
            ["1.equals: 1 has bits outside the mask: it never matches"],
        ),
        ("{ equals = 0, foo = 1 }", ["1.foo: unknown key; accepted are equals, mask, width"]),
    ],
)
def test_conditions_refused(form: str, expected: list[str]) -> None:
    assert args_problems(form) == expected


def test_too_many_rules() -> None:
    values = [number << 16 for number in range(20)]
    text = f'calls = ["read"]\nreason = "x"\nargs.1 = {values}'
    assert len(read(f"[[allow]]\n{text}").rules()) == 20
    assert body_problems(f'[[allow]]\n{text}\nelse = "EPERM"') == [
        "allow[0].args: takes more than 512 rules: name fewer values"
    ]


def test_as_many_rules_as_a_call_may_have() -> None:
    text = 'calls = ["read"]\nreason = "x"\nargs.1 ='
    assert len(read(f"[[allow]]\n{text} {list(range(512))}").rules()) == 512
    assert body_problems(f"[[allow]]\n{text} {list(range(513))}") == [
        "allow[0].args: takes more than 512 rules: name fewer values"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('calls = ["read"]', ["allow[0].reason: missing: say in words why"]),
        (
            'calls = ["read"]\nreason = "  "',
            ["allow[0].reason: missing: say in words why"],
        ),
        ('reason = "x"', ["allow[0].calls: must be a list of system calls"]),
        ('calls = []\nreason = "x"', ["allow[0].calls: must be a list of system calls"]),
        (
            'calls = ["read", "read"]\nreason = "x"',
            ["allow[0].calls: read already stands in allow[0].calls"],
        ),
        (
            'calls = ["re ad"]\nreason = "x"',
            ["allow[0].calls[0]: must be a name of the form [a-z_][a-z0-9_]{0,63}"],
        ),
        (
            'calls = ["read"]\nreason = "x"\nelse = "EPERM"',
            ["allow[0].else: needs args or except: without them it has no effect"],
        ),
        (
            'calls = ["read"]\nreason = "x"\nargs = 1',
            ["allow[0].args: must be written as args.0 to args.5"],
        ),
        (
            'calls = ["read"]\nreason = "x"\nargs.6 = [0]',
            ["allow[0].args.6: unknown key; accepted are 0, 1, 2, 3, 4, 5"],
        ),
        (
            'calls = ["read"]\nreason = "x"\nexcept = 1',
            ["allow[0].except: must be written as except.0 to except.5"],
        ),
        (
            'calls = ["read"]\nreason = "x"\nexcept.6 = [0]',
            ["allow[0].except.6: unknown key; accepted are 0, 1, 2, 3, 4, 5"],
        ),
        (
            'calls = ["read"]\nreason = "x"\nargs.1 = 7\nexcept.1 = [2]',
            [
                "allow[0].args.1: must be a list of values, or { mask, equals, width }",
                f"allow[0].except.1: {BOTH}",
            ],
        ),
        (
            'calls = ["read"]\nreason = "x"\nelse = "EPERM"\nargs.1 = 7\nwithin.1 = [2]',
            ["allow[0].args.1: must be a list of values, or { mask, equals, width }"],
        ),
        (
            'calls = ["read"]\nreason = "x"\nanswer = "EPERM"',
            [f"allow[0].answer: unknown key; accepted are {ALLOW_KEYS}"],
        ),
        (
            'calls = ["read"]\nreason = "x"\nwithin.1 = [0]\nargs.1 = [0]',
            ["allow[0].within: needs else: write the conditions under args"],
        ),
        (
            """
            calls = ["read"]
            reason = "x"
            else = "EPERM"
            within.1 = { mask = 6, equals = 2 }
            args.1 = [2, 3, 4]
            """,
            ["allow[0].args.1: 4 is excluded by within: it never matches"],
        ),
        (
            'calls = ["read"]\nreason = "x"\nelse = "EPERM"\nwithin = 1\nargs.1 = [2]',
            ["allow[0].within: must be written as within.0 to within.5"],
        ),
        (
            'calls = ["read"]\nreason = "x"\nunused = ""',
            ["allow[0].unused: missing: say in words why"],
        ),
    ],
)
def test_entries_refused(text: str, expected: list[str]) -> None:
    assert body_problems(f"[[allow]]\n{text}") == expected


def test_a_call_stands_in_one_entry_only() -> None:
    one = '[[allow]]\ncalls = ["read"]\nreason = "x"\n'
    other = '[[deny]]\ncalls = ["write", "read"]\nanswer = "EPERM"\nreason = "x"\n'
    assert body_problems(one + other) == [
        "deny[0].calls: read already stands in allow[0].calls",
    ]


def test_within() -> None:
    made = read("""
        [[allow]]
        calls = ["read"]
        within.0 = { mask = 1, equals = 0 }
        within.2 = [7]
        args.0 = [2]
        else = "EPERM"
        reason = "because"
        """)
    (one,) = made.entries
    assert one.conditions == (Condition(0, LOW, (Value("2", 2),)),)
    assert one.within == (
        Condition(0, 1, (Value("0", 0),)),
        Condition(2, LOW, (Value("7", 7),)),
    )


def test_a_placeholder_may_be_inside_or_outside() -> None:
    """The number of a placeholder is not known yet."""
    made = parse(
        b'placeholders = { FD = "a descriptor" }\n'
        + HEAD.encode()
        + b'[[allow]]\ncalls = ["read"]\nargs.0 = ["FD"]\nwithin.0 = [0, "FD"]\n'
        + b'else = "EPERM"\nreason = "because"'
    )
    assert made.unbound == {"FD"}
    assert made.bind({"FD": 7}).answer("read", (7, 0, 0, 0, 0, 0)) == ALLOW
    assert made.bind({"FD": 7}).answer("read", (1, 0, 0, 0, 0, 0)) == KILL


def test_values_that_an_argument_must_not_have() -> None:
    made = parse(
        b'placeholders = { FD = "descriptors" }\n'
        + HEAD.encode()
        + b'[[allow]]\ncalls = ["ioctl"]\nargs.1 = [7]\nexcept.0 = [2, "FD"]\n'
        + b'else = "ENOTTY"\nreason = "because"'
    )
    (one,) = made.entries
    assert [(each.argument, each.negated) for each in one.conditions] == [(1, False), (0, True)]
    bound = made.bind({"FD": (4, 5)})
    answers = [bound.answer("ioctl", (n, 7, 0, 0, 0, 0)) for n in range(7)]
    assert [n for n, answer in enumerate(answers) if answer == ALLOW] == [0, 1, 3, 6]


def test_an_argument_cannot_be_named_and_excluded() -> None:
    text = 'calls = ["open"]\nreason = "x"\nargs.0 = [1]\nexcept.0 = [2]'
    assert body_problems(f"[[allow]]\n{text}") == [f"allow[0].except.0: {BOTH}"]


@pytest.mark.parametrize("answer", ['"EAGAIN"', '"EINTR"', '"kill"', "13", "[]"])
def test_an_answer_is_an_error_that_ends_the_matter(answer: str) -> None:
    (problem,) = body_problems(f'[[deny]]\ncalls = ["open"]\nreason = "x"\nanswer = {answer}')
    assert problem.startswith("deny[0].answer: must be one of EACCES, ")


def test_else_must_differ_from_answer() -> None:
    text = 'calls = ["open"]\nreason = "x"\nargs.0 = [1]\nanswer = "EPERM"\nelse = "EPERM"'
    assert body_problems(f"[[deny]]\n{text}") == [
        "deny[0].else: is the same as answer: leave args and else out"
    ]


def test_everything_at_once() -> None:
    assert problems("""
        program = "Bad Name"
        extra = 1
        allow = 5
        deny = [1]
        [placeholders]
        lower = "x"
        UNUSED = ""
        SIGHUP = "a constant"
        "\\u001b" = "x"
        [unknown]
        newest = 0
        until = 5000
        foo = 1
        """) == [
        f"extra: unknown key; accepted are {KEYS}",
        "program: must be a name of the form [a-z][a-z0-9-]{0,31}",
        "placeholders.lower: must be a name of the form [A-Z][A-Z0-9_]{0,31}",
        "placeholders.UNUSED: missing: say in words why",
        "placeholders.SIGHUP: is the name of a constant",
        "placeholders.\\x1b: must be a name of the form [A-Z][A-Z0-9_]{0,31}",
        "unknown.foo: unknown key; accepted are answer, newest, reason, until",
        "unknown.newest: must be an integer from 1 to 2047",
        "unknown.until: must be an integer from 1 to 2047",
        f"unknown.answer: must be one of {', '.join(sorted(ERRORS))}",
        "unknown.reason: missing: say in words why",
        "allow: must be written as [[allow]]",
        "deny: must be written as [[deny]]",
        "placeholders.SIGHUP: is used nowhere",
        "placeholders.UNUSED: is used nowhere",
    ]


@pytest.mark.parametrize(
    ("extra", "more"),
    [
        ("X = 1\n", ""),
        ("X = 1\nY = 1\n", " (and 1 more)"),
    ],
)
def test_the_message_has_the_first_problem_and_counts_the_rest(extra: str, more: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse((extra + HEAD).encode())
    first = f"X: unknown key; accepted are {KEYS}"
    assert str(caught.value) == f"policy: {first}{more}; correct the policy"


def test_the_calls_that_are_unknown_are_a_part_of_each_policy() -> None:
    assert problems('program = "test"') == [
        "unknown: missing: a table of newest, until, answer and reason"
    ]


def unknown(newest: object, until: object) -> str:
    return HEAD.replace("450", str(newest)).replace("500", str(until))


@pytest.mark.parametrize("numbers", [(1, 1), (1, 2047), (2047, 2047)])
def test_the_least_and_the_most_numbers_of_unknown_calls(numbers: tuple[int, int]) -> None:
    made = parse(unknown(*numbers).encode())
    assert (made.unknown.newest, made.unknown.until) == numbers


@pytest.mark.parametrize(
    ("newest", "until", "expected"),
    [
        ("true", 500, "unknown.newest: must be an integer from 1 to 2047"),
        (450, 2048, "unknown.until: must be an integer from 450 to 2047"),
        (450, 449, "unknown.until: must be an integer from 450 to 2047"),
    ],
)
def test_numbers_of_unknown_calls_refused(newest: object, until: int, expected: str) -> None:
    assert problems(unknown(newest, until)) == [expected]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\xff", "not UTF-8 at byte 0: save it as UTF-8"),
        (b"a = [", "not TOML: "),
        (b"a = " + b"[" * 20_000, "not TOML: nested too deeply"),
        (b"#" * (MAX_BYTES + 1), f"longer than {MAX_BYTES} bytes"),
        (b"a = " + b"9" * 5000, "not TOML: "),
    ],
)
def test_text_refused(data: bytes, expected: str) -> None:
    (problem,) = problems(data)
    assert problem.startswith(expected)


def test_the_longest_text() -> None:
    text = HEAD.encode()
    assert parse(text + b"#" * (MAX_BYTES - len(text))).program == "test"


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    text = (HEAD + '[[allow]]\ncalls = ["read"]\nreason = "x"').encode()
    assert parse(b"\xef\xbb\xbf" + text) == parse(text)


def test_placeholders_must_be_a_table() -> None:
    assert problems("placeholders = 1\n" + HEAD) == [
        "placeholders: must be a table of names, each with a description"
    ]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_policies_are_valid(path: Path) -> None:
    made = parse(path.read_bytes())
    assert made.program == path.stem


def test_the_daemon_is_given_little() -> None:
    (path,) = (path for path in SHIPPED if path.stem == "mailbelld")
    permitted = parse(path.read_bytes()).permitted
    assert len(permitted) <= 40
    assert not {"execve", "fork", "vfork", "clone", "ptrace", "io_uring_setup", "bpf", "open",
                "openat", "connect", "bind", "listen", "sendmsg", "sendmmsg", "mprotect"} & {
        *permitted
    }  # fmt: skip


def test_values_that_within_excludes_are_found_behind_an_argument_without_any() -> None:
    body = """
    [[allow]]
    calls = ["read"]
    reason = "x"
    else = "EPERM"
    args.0 = [1]
    args.1 = [4]
    within.1 = [2]
    """
    assert body_problems(body) == ["allow[0].args.1: 4 is excluded by within: it never matches"]


def test_an_error_that_is_none_is_named_by_its_place() -> None:
    body = '[[allow]]\ncalls = ["read"]\nreason = "x"\nargs.0 = [1]\nelse = "EODD"\n'
    (problem,) = body_problems(body)
    assert problem.startswith("allow[0].else: ")
