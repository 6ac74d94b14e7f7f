"""How Debian's packages are built, and what is in them."""

import gzip
import hashlib
import re
from pathlib import Path
from typing import Final

import pytest
from machines.processes import run
from machines.wheels import source_tree
from packages.conftest import Boot
from packages.debs import PACKAGES, ROOT, SUITE, build, furniture, results, tools
from packages.roots import require_roots
from packages.system import PATIENCE, booted
from service_files.units import require

from mailbell import __version__
from mailbell.addon.sources import addon

# Looks for modules that Python has removed. It takes a minute and a half for this source, and the
# tests run with each of these Pythons, and with warnings as errors.
LEFT_OUT: Final = "languages/python/stdlib-deprecation"


def test_the_versions_agree() -> None:
    changelog = (ROOT / "debian" / "changelog").read_text()
    newest = re.match(r"mailbell \(([^)]+)\) ", changelog)
    assert newest
    assert newest[1] == __version__
    released = re.search(r"^## \[([0-9][^]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released is None or released[1] == __version__


def contents(package: Path) -> dict[str, str]:
    """Return the mode and owner of each path in a package."""
    lines = run("dpkg-deb", "--contents", package).decode().splitlines()
    rows = [line.split(maxsplit=5) for line in lines]
    return {row[5].lstrip(".").partition(" -> ")[0]: f"{row[0]} {row[1]}" for row in rows}


def unpacked(package: Path, folder: Path) -> Path:
    run("dpkg-deb", "--extract", package, folder)
    return folder


def test_each_path_is_in_one_package_and_roots(debs: list[Path]) -> None:
    seen: dict[str, str] = {}
    for each in debs:
        for path, entry in contents(each).items():
            assert entry.endswith(" root/root")
            assert not set(entry[:10]) & {"s", "S", "t", "T"}
            assert "w" not in entry[4:10], path
            if not path.endswith("/"):
                assert path not in seen
                seen[path] = each.name
    assert not [path for path in seen if path.endswith(".pyc")]


def test_the_files_of_the_services_are_those_of_policy(debs: list[Path], tmp_path: Path) -> None:
    for each in debs:
        unpacked(each, tmp_path)
    policy = ROOT / "policy"
    expected = {
        *(f"usr/lib/systemd/system/{path.name}" for path in (policy / "systemd").iterdir()),
        *(f"usr/lib/sysusers.d/{path.name}" for path in (policy / "sysusers.d").iterdir()),
        *(f"usr/lib/tmpfiles.d/{path.name}" for path in (policy / "tmpfiles.d").iterdir()),
        "etc/apparmor.d/mailbelld",
        "etc/apparmor.d/mailbell-sender",
        "usr/share/mailbell/apparmor/mailbelld.conf",
        "usr/share/mailbell/apparmor/mailbell-sender.conf",
        "usr/share/doc/mailbell/examples/mailbell.nft",
    }
    for path in expected:
        text = (tmp_path / path).read_text()
        orders = [line for line in text.splitlines() if not line.startswith("#")]
        assert not [line for line in orders if "/opt" in line], path
    service = (tmp_path / "usr/lib/systemd/system/mailbelld.service").read_text()
    assert "\nExecStart=/usr/bin/mailbelld\n" in service
    assert "\nExecPaths=/usr -/lib -/lib64\n" in service
    named = {path.relative_to(policy).parts[0] for path in policy.rglob("*") if path.is_file()}
    assert named == {"apparmor", "nftables", "syscalls", "systemd", "sysusers.d", "tmpfiles.d"}


@pytest.mark.parametrize("name", ["mailbelld", "mailbell-sender"])
def test_the_profiles_compile_with_the_operators_own_lines(
    name: str, debs: list[Path], tmp_path: Path
) -> None:
    require("apparmor_parser")
    for each in debs:
        unpacked(each, tmp_path)
    profile = tmp_path / "etc/apparmor.d" / name
    (tmp_path / "etc/apparmor.d/local").mkdir()
    (tmp_path / "etc/apparmor.d/local" / name).write_text("  /srv/of-the-operator r,\n")
    words = ("--skip-kernel-load", "--skip-cache", "--Werror", "--debug")
    features = ("--kernel-features", "/etc/apparmor.d/abi/3.0")
    where = ("--Include", tmp_path / "etc/apparmor.d")
    said = run("/usr/sbin/apparmor_parser", *words, *features, *where, profile)
    assert b"/srv/of-the-operator" in said


def test_programs_and_what_the_build_has_made(debs: list[Path], tmp_path: Path) -> None:
    for each in debs:
        unpacked(each, tmp_path)
    # The options of its first line are part of its safety; Debian's helper rewrites such lines.
    hook = (ROOT / "src" / "mailbell" / "hook.py").read_bytes()
    assert (tmp_path / "usr/bin/mailbell-hook").read_bytes() == hook
    assert (tmp_path / "usr/share/mailbell/mailbell.xpi").read_bytes() == addon()
    pages = {str(path.relative_to(ROOT / "man")) for path in (ROOT / "man").glob("*/*")}
    installed = tmp_path / "usr/share/man"
    assert {str(path.relative_to(installed)) for path in installed.glob("*/*")} == {
        f"{page}.gz" for page in pages
    }
    for page in pages:
        data = gzip.decompress((installed / f"{page}.gz").read_bytes())
        assert data == (ROOT / "man" / page).read_bytes()
    for completion in ("bash-completion/completions/mailbell", "zsh/vendor-completions/_mailbell"):
        assert "_MAILBELL_COMPLETE" in (tmp_path / "usr/share" / completion).read_text()
    (metadata,) = tmp_path.glob("usr/lib/python3/dist-packages/mailbell-*.dist-info/METADATA")
    assert "Requires-Dist: trio" in metadata.read_text()
    assert "pyseccomp" not in metadata.read_text()


def digests(folder: Path) -> dict[str, str]:
    paths = [path for form in ("*.deb", "*.dsc", "*.tar.xz") for path in folder.glob(form)]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_two_builds_are_the_same_to_the_byte(tmp_path: Path) -> None:
    require_roots()
    place = "/srv/another/folder"
    other = f"""
umask 077
export TZ=Pacific/Kiritimati LC_ALL=C DEB_BUILD_OPTIONS=parallel=1 HOME=/nowhere USER=other
hostname other
cd {place} && mv mailbell first && mkdir mailbell && cd first
find . ! -type d | sort -r | tar --create --files-from=- | tar --extract --directory=../mailbell
cd .. && rm -r first && chmod -R go-rwx mailbell
find mailbell -exec touch -h -d @1234567890 {{}} +
"""
    with booted(tools()) as system:
        again = digests(build(system, source_tree(tmp_path), place, other))
    assert again == digests(results())
    assert len(again) == len(PACKAGES) + 2


def test_lintian_has_nothing_to_say() -> None:
    require_roots()
    with booted(tools()) as system:
        system.put(results(), "/build")
        options = f"--dont-check-part {LEFT_OUT} --fail-on=error,warning --allow-root"
        system.run(f"lintian {options} /build/*/*.changes")


def test_the_tests_of_the_packages_themselves_pass(
    boot: Boot, debs: list[Path], tmp_path: Path
) -> None:
    """debian/tests, as Debian's own machines would run them after an upload."""
    system = boot(SUITE, *furniture(debs))
    system.put(source_tree(tmp_path), "/build")
    for each in debs:
        system.put(each, "/build")
    # At its end autopkgtest updates apt's lists. Here is no network: no other try does better.
    system.write("/etc/apt/apt.conf.d/zz-no-network", 'Acquire::Retries "0";\n')
    done = system.ran(
        "cd /build\nautopkgtest --ignore-restrictions=isolation-container *.deb mailbell/ -- null",
        seconds=3 * PATIENCE,
    )
    results = dict(re.findall(r"^(\S+) +(PASS|FAIL|SKIP)", done.said, re.MULTILINE))
    names = re.findall(r"^Tests: (.+)$", (ROOT / "debian/tests/control").read_text(), re.MULTILINE)
    assert results == dict.fromkeys(names, "PASS"), done.said[-4000:]


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_has_a_page_for_its_reader(package: str, debs: list[Path]) -> None:
    paths = set(contents(debs[PACKAGES.index(package)]))
    page = "README.md.gz" if package == "python3-mailbell" else "README.Debian"
    assert paths & {f"/usr/share/doc/{package}/{page}", f"/usr/share/doc/{package}/{page}.gz"}
