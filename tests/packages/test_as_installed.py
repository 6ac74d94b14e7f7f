"""mailbell as Debian 13 has it: chosen parts of the suite, run there, against the packages.

Nothing of mailbell, and nothing that it needs, comes from elsewhere. So the daemons run with
Debian's Trio, msgspec, click and dnspython, and with Debian's binding of libseccomp. The tests
themselves are run by Debian's pytest.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pyseccomp
import pytest
from machines.wheels import source_tree
from packages.debs import SUITE, furniture
from packages.roots import clean_root
from packages.system import System, booted

# What is imported from Debian's packages.
MODULES: Final = (
    "attr", "click", "dns", "jeepney", "mailbell", "msgspec", "outcome", "rich", "seccomp",
    "sniffio", "sortedcontainers", "trio",
)  # fmt: skip
# What depends on a library, on its binding, or on where mailbell is installed.
CHOSEN: Final = (
    # The filter and the lock.
    "_sys/test_libseccomp.py", "_sys/test_seccomp.py", "_sys/test_seccomp_live.py",
    "sandbox/test_every_rule.py", "sandbox/test_sender_fail_closed.py", "system/test_lock.py",
    "system/test_after_the_lock.py", "system/test_loaded.py", "system/test_native_libraries.py",
    # msgspec and dnspython. The stage `floors` of .ci/run tries as old ones with all tests.
    "listener/test_configuration.py", "varlink/test_json.py", "system/test_sender_names.py",
    # The commands.
    "cli/test_check.py", "cli/test_sender_check.py", "cli/test_group.py", "cli/test_send.py",
    "cli/test_recipe_machine.py", "cli/test_status.py",
    "cli/test_interpreter.py::test_a_folder_that_was_removed_changes_nothing",
)  # fmt: skip
TREE: Final = "/srv/mailbell"
RUN: Final = f"cd {TREE}; MAILBELL_STRICT=1 pytest-3 -p no:cacheprovider -n 2 --dist worksteal"
# They take a minute on a machine that does nothing else.
MOST: Final = 400.0


@pytest.fixture(scope="module")
def debian(debs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A Debian 13 with mailbell's packages, and the source tree without its `src`."""
    tree = source_tree(tmp_path_factory.mktemp("tree"))
    shutil.rmtree(tree / "src")
    with booted(clean_root(SUITE, *furniture(debs))) as system:
        for each in debs:
            system.put(each, "/root/packages")
        system.run("dpkg --install /root/packages/*.deb && systemctl stop 'mailbell*'")
        system.put(tree, str(Path(TREE).parent))
        system.run(f"chmod -R a+rX {TREE}")
        yield system


def test_all_that_is_imported_is_debians(debian: System) -> None:
    """Also what a running daemon has mapped is a file of some package."""
    names = " ".join(MODULES)
    script = (
        "import importlib, sys; [print(importlib.import_module(n).__file__) for n in sys.argv[1:]]"
    )
    files = debian.run(f"python3 -c '{script}' {names}").split()
    assert len(files) == len(MODULES)
    debian.run(f"dpkg --search {' '.join(files)}")
    assert debian.ran("python3 -c 'import pyseccomp'").code != 0
    debian.run("systemctl start mailbelld")
    pid = debian.shows("mailbelld")["MainPID"]
    mapped = debian.run(f"awk '/ \\//{{print $6}}' /proc/{pid}/maps | sort -u").split()
    assert any("/seccomp.cpython-" in each for each in mapped)
    debian.run(f"dpkg --search {' '.join(mapped)}")
    debian.run("systemctl stop 'mailbelld*'")


def test_the_chosen_parts_of_the_suite(
    debian: System, record_property: Callable[[str, object], None]
) -> None:
    said = debian.run(f"{RUN} {' '.join(f'tests/{each}' for each in CHOSEN)}", seconds=MOST)
    (passed,) = re.findall(r"=+ (\d+) passed", said)
    record_property("sandbox: tests passed on Debian's packages", int(passed))


def test_both_bindings_make_the_same_filters(debian: System) -> None:
    """Here both are real, and both have Debian's libseccomp."""
    debian.put(Path(pyseccomp.__file__), "/srv/pyseccomp")
    said = "import mailbell._sys.seccomp as s; print(s.binding_name())"
    both = {"PYTHONPATH": "/srv/pyseccomp"}
    assert debian.run(f"python3 -c '{said}'").split() == ["seccomp"]
    assert debian.run(f"python3 -c '{said}'", env=both).split() == ["pyseccomp"]
    assert "the Python module seccomp" in debian.run("mailbell check")
    debian.run(f"{RUN} tests/_sys/test_libseccomp.py", env=both)
