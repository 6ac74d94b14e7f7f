"""Chosen tests of the sandbox pass in the machine, with its own kernel and its own Python.

The whole suite takes half an hour where a processor is emulated. These are the tests whose answers
depend on the kernel most: each asks the kernel itself, and none a stand-in.
"""

import re

import pytest
from machines.claim import claim
from machines.guest import Guest
from machines.results import outcomes
from machines.wheels import source_tree, wheels

PLACE = "/srv/mailbell"  # which every user may read: many of these tests become another user
# Seconds for one claim beside much other load; alone it takes a minute or two. Another
# architecture is always emulated.
TRIED = {"amd64": 900.0, "arm64": 1800.0}
TOO_OLD = re.compile(r"this kernel offers version \d+")

LANDLOCK = "tests/_sys/test_landlock.py"
SENDERS = "tests/sandbox/test_sender_attacks.py"
STORE = "tests/sender/test_store_file.py"
RESOLVER = "tests/sender/test_resolver.py"
COMPANIONS = "tests/sandbox/test_companions_at_work.py"
CHOSEN = {
    "Landlock: each right of the kernel is used, and refuses": [LANDLOCK],
    # Each bit of each argument takes many processes. What judges it is the same program anywhere.
    "seccomp: each rule answers as written, both ways": [
        "tests/sandbox/test_every_rule.py", "-k", "not one_bit_off and not x32",
    ],
    "the layers: each one alone stops what it should": [
        "tests/sandbox/test_each_layer.py", "-k", "not in_python",
    ],
    "the lock: nothing is left to the running daemon": [
        "tests/system/test_lock.py", "tests/_sys/test_connections.py",
    ],
    "the sender, its resolver and its readers: each reaches its own ports and files only": [
        f"{SENDERS}::test_only_the_ports_of_the_configuration_can_be_reached",
        f"{COMPANIONS}::test_the_resolver_connects_to_the_port_of_name_servers_only",
        f"{COMPANIONS}::test_neither_opens_a_file_nor_looks_at_one",
        f"{STORE}::test_what_reads_the_file_has_no_privilege_and_no_other_file",
        # It asks by sockets that were connected before Landlock, and by new ones.
        f"{RESOLVER}::test_both_families_ipv6_first",
        f"{RESOLVER}::test_what_is_cut_off_is_asked_by_tcp",
    ],
    "Landlock 9 and 10: no Unix socket by path, and datagrams to the configured ports only": [
        f"{LANDLOCK}::test_no_unix_socket_by_path",
        f"{LANDLOCK}::test_no_udp",
        f"{LANDLOCK}::test_one_port_may_be_sent_to_by_udp_and_no_other",
        f"{SENDERS}::test_only_the_udp_ports_of_the_configuration_can_be_reached",
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def suite(bare: Guest, tmp_path_factory: pytest.TempPathFactory) -> Guest:
    """The machine with the source tree, and an environment for its tests."""
    folder = tmp_path_factory.mktemp("suite")
    python = bare.run("python3 -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'").strip()
    found = wheels(bare.machine.architecture, python, "cluster", "test")
    bare.put(found, PLACE)
    bare.put(source_tree(folder), PLACE)
    bare.run(
        f"cd {PLACE} && python3 -m venv tests && chmod -R a+rX {PLACE} && tests/bin/pip install"
        f" --quiet --no-index --find-links {found.name} './mailbell[cluster,test]'",
        timeout=TRIED[bare.machine.architecture],
    )
    return bare


@pytest.mark.parametrize(
    "words", [pytest.param(words, marks=claim(said)) for said, words in CHOSEN.items()]
)
def test_it_holds_on_this_kernel(suite: Guest, words: list[str]) -> None:
    """A skip fails here, unless tests/conftest.py says why the claim is none on such a kernel."""
    quoted = " ".join(f"'{word}'" for word in words)
    tried = TRIED[suite.machine.architecture]
    said = suite.run(
        # What takes too long must not go on beside the next claim.
        f"cd {PLACE}/mailbell && export MAILBELL_STRICT=1 &&"
        f" timeout -k 5 {tried - 60:.0f} ../tests/bin/python -m pytest -q --tb=short"
        f" -p no:cacheprovider -n $(nproc) --dist worksteal {quoted}",
        timeout=tried,
    )
    passed, left_out = outcomes(said)
    reasons = re.findall(r"^SKIPPED \[\d+\] [^:]+(?::\d+)?: (.*)$", said, re.MULTILINE)
    print(f"      {passed} passed, {left_out} left out: {'; '.join(sorted(set(reasons))) or '-'}")
    if not passed and reasons and all(TOO_OLD.fullmatch(reason) for reason in reasons):
        pytest.skip(reasons[0])
    assert passed, said
