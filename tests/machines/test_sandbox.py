"""Chosen tests of the sandbox pass in the machine, with its own kernel and its own Python.

The whole suite takes half an hour where a processor is emulated. These are the tests whose answers
depend on the kernel most: each asks the kernel itself, and none a stand-in.
"""

import pytest
from machines.claim import claim
from machines.guest import Guest
from machines.wheels import source_tree, wheels

PLACE = "/srv/mailbell"  # which every user may read: many of these tests become another user
TRIED = 900.0  # seconds for one claim beside much other load; alone it takes a minute or two

CHOSEN = {
    "Landlock: each right of the kernel is used, and refuses": ["tests/_sys/test_landlock.py"],
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
}  # fmt: skip


@pytest.fixture(scope="module")
def suite(bare: Guest, tmp_path_factory: pytest.TempPathFactory) -> Guest:
    """The machine with the source tree, and an environment for its tests."""
    folder = tmp_path_factory.mktemp("suite")
    python = bare.run("python3 -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'").strip()
    found = wheels(folder, bare.machine.architecture, python, "test")
    bare.put(found, PLACE)
    bare.put(source_tree(folder), PLACE)
    bare.run(
        f"cd {PLACE} && python3 -m venv tests && chmod -R a+rX {PLACE} && tests/bin/pip install"
        f" --quiet --no-index --find-links {found.name} './mailbell[test]'",
        timeout=TRIED,
    )
    return bare


@pytest.mark.parametrize(
    "words", [pytest.param(words, marks=claim(said)) for said, words in CHOSEN.items()]
)
def test_it_holds_on_this_kernel(suite: Guest, words: list[str]) -> None:
    """A skip fails here, unless tests/conftest.py says why the claim is none on such a kernel."""
    quoted = " ".join(f"'{word}'" for word in words)
    suite.run(
        # What takes too long must not go on beside the next claim.
        f"cd {PLACE}/mailbell && export MAILBELL_STRICT=1 &&"
        f" timeout -k 5 {TRIED - 30:.0f} ../tests/bin/python -m pytest -q --tb=short"
        f" -p no:cacheprovider -n $(nproc) --dist worksteal {quoted}",
        timeout=TRIED,
    )
