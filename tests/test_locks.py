"""requirements/*.txt are what pyproject.toml asks for, with hashes, on every supported machine."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from itertools import product
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts import lock

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TEXTS = {path.stem: path.read_text() for path in lock.FOLDER.glob("*.txt")}
PYTHONS = lock.supported(PROJECT)
MACHINES = [
    {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "platform_machine": machine,
        "os_name": "posix",
        "sys_platform": "linux",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "extra": "",
    }
    for python, machine in product(PYTHONS, lock.MACHINES)
]


def pinned(text: str, machine: dict[str, str]) -> dict[str, str]:
    """The version of each package that one kind of machine installs from a file."""
    found: dict[str, str] = {}
    for pin in lock.pins(text):
        requirement = Requirement(pin)
        if requirement.marker is None or requirement.marker.evaluate(machine):
            name = canonicalize_name(requirement.name)
            assert name not in found, f"{name} has two versions"
            found[name] = str(requirement.specifier).removeprefix("==")
    return found


def requirements(part: str) -> list[Requirement]:
    return [Requirement(text) for text in lock.requirements(PROJECT, part)]


def test_a_python_without_a_wheel_of_the_newest_release_gets_an_older_one() -> None:
    assert lock.lines("trio>=0.27") == ["trio>=0.27"]
    assert lock.lines("atheris>=2.3") == [
        "atheris>=2.3,<3.1 ; python_version < '3.12'", "atheris>=2.3 ; python_version >= '3.12'"
    ]  # fmt: skip


def test_there_is_a_file_for_each_environment() -> None:
    assert set(TEXTS) == set(lock.FILES)
    makefile = (ROOT / "Makefile").read_text()
    extras = PROJECT["project"]["optional-dependencies"]
    assert set(extras) < {part for parts in lock.FILES.values() for part in parts}
    installed = set(re.findall(r"\$\(call install,(\w+)\)", makefile))
    tools = re.search(r"^(.*): \$\(BIN\)/\.%: requirements/%\.txt", makefile, re.MULTILINE)
    assert tools
    installed |= set(re.findall(r"\$\(BIN\)/\.(\w+)", tools[1]))
    assert installed == set(lock.FILES)


@pytest.mark.parametrize("name", lock.FILES)
def test_each_requirement_is_pinned_to_a_version_that_is_permitted(name: str) -> None:
    """`make lock` is needed if this fails."""
    for machine in MACHINES:
        versions = pinned(TEXTS[name], machine)
        for part in lock.FILES[name]:
            for requirement in requirements(part):
                version = versions[canonicalize_name(requirement.name)]
                assert requirement.specifier.contains(version, prereleases=True), requirement


@pytest.mark.parametrize("name", lock.FILES)
def test_nothing_is_pinned_that_pyproject_does_not_ask_for(name: str) -> None:
    """What is asked for directly says so; all the rest came with something else."""
    direct = {
        canonicalize_name(requirement.name)
        for part in lock.FILES[name]
        for requirement in requirements(part)
    }
    entries = re.split(r"^(?=[a-z0-9])", TEXTS[name], flags=re.MULTILINE)[1:]
    asked = {
        canonicalize_name(re.split(r"[=\[]", entry)[0])
        for entry in entries
        if re.search(r"^    #(?: via|  ) mailbell$", entry, re.MULTILINE)
    }
    assert asked == direct, "run: make lock"
    silent = [entry.split()[0] for entry in entries if "    # " not in entry]
    assert silent == [], "none says what needs it"


def test_what_comes_with_a_package_is_pinned_too() -> None:
    """Told by the packages that are installed here, in the versions that are pinned."""
    everything = {pin for text in TEXTS.values() for pin in lock.pins(text)}
    compared = 0
    for machine in MACHINES:
        run = pinned(TEXTS["run"], machine)
        for name in run:
            try:
                found = importlib.metadata.distribution(name)
            except importlib.metadata.PackageNotFoundError:
                continue  # it is for another kind of machine
            if f"{name}=={found.version}" not in everything:
                continue  # the stages "floors" and "newest" install other versions
            for text in found.requires or []:
                requirement = Requirement(text)
                if requirement.marker is None or requirement.marker.evaluate(machine):
                    assert canonicalize_name(requirement.name) in run
                    compared += 1
    locked = {name: importlib.metadata.version(name) for name in ("trio", "click", "rich")}
    if any(f"{name}=={version}" in everything for name, version in locked.items()):
        assert compared


@pytest.mark.parametrize("name", lock.FILES)
def test_each_version_has_hashes_and_no_place(name: str) -> None:
    pins = lock.pins(TEXTS[name])
    assert pins
    assert [pin for pin, hashes in pins.items() if not hashes] == []
    # Each line is a version, a hash of it, or a comment: no option of pip, no address.
    lines = TEXTS[name].splitlines()
    form = re.compile(
        r"#.*|    #.*|    --hash=sha256:[0-9a-f]{64}( \\)?|[a-z0-9-]+(\[[a-z0-9,-]+\])?==.* \\"
    )
    assert [line for line in lines if not form.fullmatch(line)] == []
    assert sum(line.endswith(" \\") and not line.startswith(" ") for line in lines) == len(pins)
    assert "//" not in TEXTS[name]


def test_no_two_files_name_different_versions() -> None:
    for machine in MACHINES:
        versions: dict[str, str] = {}
        for text in TEXTS.values():
            for name, version in pinned(text, machine).items():
                assert versions.setdefault(name, version) == version, name


def test_the_same_version_has_the_same_hashes_everywhere() -> None:
    hashes: dict[str, set[str]] = {}
    for text in TEXTS.values():
        for pin, found in lock.pins(text).items():
            name = re.sub(r"\[.*?\]", "", pin)
            assert hashes.setdefault(name, found) == found, pin


def test_a_difference_is_a_version_or_a_hash_that_is_gone() -> None:
    def entry(name: str, *digits: str) -> str:
        hashes = " \\\n".join(f"    --hash=sha256:{digit * 64}" for digit in digits)
        return f"{name} \\\n{hashes}\n    # via mailbell\n"

    old = entry("a==1", "1") + entry("b[x]==2 ; os_name == 'nt'", "2", "3") + entry("c==3", "4")
    assert lock.differences(old, old) == []
    # Files that came later, for a newer Python perhaps.
    assert lock.differences(old, old + entry("d==1", "5")) == ["+ d==1"]
    new = entry("a==1", "1", "6") + entry("b[x]==2 ; os_name == 'nt'", "3")
    assert lock.differences(old, new) == [
        "- c==3",
        "! b[x]==2 ; os_name == 'nt': 1 hashes are not offered any more",
    ]


def test_the_program_says_how_it_is_called() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/lock.py", "--chekc"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (64, "usage: lock.py [--check | --upgrade]\n")


@pytest.mark.once
@pytest.mark.parametrize("name", ["run", "bench", "test", "fuzz", "mutants"])
def test_make_can_do_without_the_locks(name: str, tmp_path: Path) -> None:
    """The stages `floors` and `newest` of .ci/run do. An extra for each part that is locked."""
    extras = ",".join(part for part in lock.FILES[name] if part)
    for locked, words in (
        ("no", f" '.{extras and '['}{extras}{extras and ']'}'"),
        ("yes", f" -r requirements/build.txt -r requirements/{name}.txt && "),
    ):
        target = tmp_path / "bin" / f".{name}"
        done = subprocess.run(
            ["make", "-n", target, f"VENV={tmp_path}", f"LOCKED={locked}"],
            cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        assert words in done.stdout
        assert ("--require-hashes" in done.stdout) == (locked == "yes")


@pytest.mark.once
def test_pip_refuses_what_has_another_hash(tmp_path: Path) -> None:
    """As the Makefile calls it, with a package that looks right."""
    makefile = (ROOT / "Makefile").read_text()
    assert "--require-hashes --only-binary :all: -r requirements" in makefile
    wheels = tmp_path / "wheels"
    subprocess.run(
        [sys.executable, "scripts/dist.py", wheels],
        cwd=ROOT, check=True, timeout=60, capture_output=True,
    )  # fmt: skip
    (wheel,) = wheels.glob("*.whl")
    name = "-".join(wheel.name.split("-")[:2]).replace("-", "==")
    (tmp_path / "locked.txt").write_text(f"{name} --hash=sha256:{'0' * 64}\n")
    done = subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--no-index", "--find-links", wheels,
            "--target", tmp_path / "target", "--no-deps", "--require-hashes",
            "--only-binary", ":all:", "-r", tmp_path / "locked.txt",
        ],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert not list((tmp_path / "target").glob("*"))


def test_hashes_come_from_the_index_and_not_from_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """uv believes a hash that it is told. A wrong one would be written, and checked, for ever."""
    told: list[str] = []

    def resolve(wanted: list[str], versions: str, upgrade: bool) -> str:
        told.append(versions)
        return TEXTS["test"]

    monkeypatch.setattr(lock, "resolve", resolve)
    monkeypatch.setattr(lock, "require_wheels", lambda *_: None)
    lock.locked(upgrade=False)
    assert "sha256" not in told[0]
    assert set(told[0].splitlines()) == {pin for text in TEXTS.values() for pin in lock.pins(text)}
    assert set(told[1:]) == {TEXTS["test"]}
