"""Each way of installing in docs/install.md, word by word, on Debian 12, 13 and testing.

A system tries one way after another. Each way leaves nothing, so the next one finds a clean system.
"""

from pathlib import Path

import pytest
from harness.daemon import until
from machines.wheels import source_tree
from packages.conftest import Boot
from packages.offers import ENVIRONMENT, FOLDER, NEWER, offer, offer_newer, withdraw_newer
from packages.roots import SUITES
from packages.snapshot import BOOTED, PACKAGES, Snapshot, differences, snapshot
from packages.system import System
from packages.walk import Walk, notifications

from mailbell import __version__

UV = "PIPX_HOME=/opt/pipx PIPX_BIN_DIR=/usr/local/bin pipx install uv"
SOURCE = f"{FOLDER}/source"

# What a removal may leave, and why.
LEFT = {
    r"/opt/(pipx|uv)": "what pipx and uv share between programs, their logs and locks",
    r"/root/\.(local|cache|config)": "of pip, pipx and uv, for the next time",
    r".*/__pycache__": "Python has compiled modules of its own that root has used",
    r"/srv": "the test's",
}
# Where the page shows it: an older pipx has another folder.
HOME = ("trixie", "forky")
# An upgrade takes as long as an installation, so each is run where most people are, and with an
# older pipx, whose words are others.
UPGRADES = {"pip": ("trixie",), "pipx": ("bookworm", "trixie"), "uv": ("trixie",)}
FROM_SOURCE = ("trixie",)
CONFIGURATION = 78


@pytest.mark.parametrize("suite", SUITES)
def test_each_way_installs_what_rings_and_leaves_nothing(
    boot: Boot, suite: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    system = boot(suite)
    offer(system, suite)
    system.put(source_tree(tmp_path_factory.mktemp("source")), SOURCE)
    system.person("anna")
    walk = Walk(system, suite)
    for way in ("pip", "pipx"):
        walk.fetch(f"{way} install")
    system.run(UV, env=ENVIRONMENT)
    before = look(system)

    for way in ("pip", "pipx", "uv"):
        walk.follow(f"{way} install")
        rings(system, __version__)
        if way == "pipx":
            walk.follow("pipx sender")
        if suite in UPGRADES[way]:
            offer_newer(system)
            walk.follow(f"{way} upgrade")
            withdraw_newer(system)
            rings(system, NEWER)
        walk.follow(f"{way} removal")
        if way == "pipx":  # it has made folders for the manual pages that it links, and leaves them
            system.run("find /usr/local/share/man -mindepth 1 -type d -empty -delete")
        assert not differences(before, look(system)), way

    if suite in FROM_SOURCE:
        Walk(system, suite, folder=f"{SOURCE}/mailbell").follow("source install")
        rings(system, __version__)
        walk.follow("pip removal")
        assert not differences(before, look(system))

    if suite in HOME:
        walk.follow("home install")
        before = look(system)
        walk.follow("home refused", code=CONFIGURATION)
        assert not differences(before, look(system))


@pytest.mark.parametrize("suite", ["trixie", "forky"])
def test_the_packages_of_debian_ring(boot: Boot, suite: str, debs: list[Path]) -> None:
    system = boot(suite)
    for deb in debs:
        system.put(deb, "/root")
    system.person("anna")
    walk = Walk(system, suite)
    walk.follow("deb install")
    rings(system, __version__)
    walk.follow("deb removal")
    assert "mailbell" not in system.run("getent passwd; ls /etc")


def rings(system: System, version: str) -> None:
    """Show that mailbelld of a version is rung, and that its people may ask it."""
    system.run("mailbell send 127.0.0.1")
    until(lambda: notifications(system, version, "anna") == 1, "the ring")


def look(system: System) -> Snapshot:
    """Look at all files of a system."""
    return snapshot(system.path("/"), BOOTED, PACKAGES, LEFT)
