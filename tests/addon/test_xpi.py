"""The add-on's bytes follow from its sources and its version, and from nothing else."""

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from harness.sender import PATIENCE
from hypothesis import given
from hypothesis import strategies as st

import mailbell
from mailbell.addon import place, xpi
from mailbell.addon.sources import CLIENTS, read_sources
from mailbell.addon.xpi import IDENTITY, build, is_built, is_packed
from mailbell.cli._agent_file import presets

ROOT = Path(__file__).parents[2]
MANIFEST = json.dumps({"manifest_version": 2, "name": "\u00e9", "version": "0"}).encode()
NAMES = st.from_regex(
    r"\A[a-z_]{1,8}(/[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,3}){0,2}\.(js|json|svg|css|html)\Z"
)


def opened(data: bytes) -> zipfile.ZipFile:
    archive = zipfile.ZipFile(io.BytesIO(data))
    assert archive.testzip() is None
    return archive


@given(st.dictionaries(NAMES, st.binary(max_size=300), max_size=6))
def test_an_unzipper_finds_all_that_was_packed(files: dict[str, bytes]) -> None:
    files |= {"manifest.json": MANIFEST}
    packed = {name for name in files if is_packed(name)}
    data = build(files, "1.2.3")
    assert data == build(dict(reversed(files.items())), "1.2.3")
    archive = opened(data)
    assert archive.namelist() == sorted(packed)
    for entry in archive.infolist():
        assert entry.date_time == (1980, 1, 1, 0, 0, 0)
        assert entry.external_attr >> 16 == 0o100644
        assert (entry.compress_type, entry.extra, entry.comment) == (zipfile.ZIP_STORED, b"", b"")
        if entry.filename != "manifest.json":
            assert archive.read(entry) == files[entry.filename]


@pytest.mark.parametrize(
    ("version", "said"),
    [("0.1.0", "0.1.0"), ("1.2.3.4.5", "1.2.3.4"), ("1.0rc1", "1.0"), ("2.0.dev3+local", "2.0")],
)
def test_the_manifest_has_the_version_of_mailbell(version: str, said: str) -> None:
    manifest = opened(build({"manifest.json": MANIFEST}, version)).read("manifest.json")
    assert json.loads(manifest) == json.loads(MANIFEST) | {"version": said}
    assert manifest.isascii()


@pytest.mark.parametrize(
    ("files", "version"),
    [
        ({}, "1"),
        ({"manifest.json": b"[]"}, "1"),
        ({"manifest.json": b"{"}, "1"),
        ({"manifest.json": b"\xff{}"}, "1"),
        ({"manifest.json": MANIFEST}, "v1"),
        ({"manifest.json": MANIFEST, "big.js": bytes(xpi._MOST_BYTES + 1)}, "1"),
        ({"manifest.json": MANIFEST} | {f"{n}.js": b"" for n in range(xpi._MOST_FILES)}, "1"),
        ({"manifest.json": MANIFEST, "module.so": b""}, "1"),
    ],
)  # fmt: skip
def test_what_is_no_add_on_is_refused(files: dict[str, bytes], version: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        build(files, version)


@pytest.mark.parametrize("name", ["README.md", "core/README.md", ".gitignore", "core/.x.js.swp"])
def test_what_only_people_read_is_left_out(name: str) -> None:
    assert not is_packed(name)
    assert name not in opened(build({"manifest.json": MANIFEST, name: b""}, "1")).namelist()


@pytest.mark.parametrize(
    "name", ["a.js~", "a.so", "a", "../a.js", "/a.js", "a//b.js", "a/../b.js", "a b.js", "a\n.js",
             ".a/b.js", "a\\b.js", "\u00e9.js"],
)  # fmt: skip
def test_a_name_that_nobody_has_thought_of_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no file of an add-on"):
        is_packed(name)


OURS = json.dumps({"browser_specific_settings": {"gecko": {"id": IDENTITY}}}).encode()


@given(st.dictionaries(NAMES, st.binary(max_size=60), max_size=4), st.data())
def test_what_is_built_is_known_again_and_nothing_else(
    files: dict[str, bytes], choose: st.DataObject
) -> None:
    data = build(files | {"manifest.json": OURS}, "1")
    assert is_built(data)
    assert not is_built(build(files | {"manifest.json": MANIFEST}, "1"))
    place = choose.draw(st.integers(0, len(data) - 1))
    changed = choose.draw(st.integers(0, 255).filter(lambda byte: byte != data[place]))
    assert not is_built(data[:place] + bytes([changed]) + data[place + 1 :])
    assert not is_built(data[:place])


@given(st.binary(max_size=200) | st.binary(max_size=200).map(b"PK\3\4".__add__))
def test_no_other_bytes_are_an_add_on(data: bytes) -> None:
    assert not is_built(data)


@pytest.mark.parametrize(
    "files",
    [
        {"manifest.json": b"[" * 100_000},
        {"manifest.json": b"[]"},
        {"manifest.json": OURS, "\u00e9.js": b""},
        {"manifest.json": OURS} | {f"{n}.js": b"" for n in range(1 << 16)},
    ],
    ids=["deep", "list", "not ASCII", "too many"],
)
def test_a_strange_archive_is_no_add_on(files: dict[str, bytes]) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    assert not is_built(archive.getvalue())


# --- the add-on itself ------------------------------------------------------------------


def made(tree: Path, out: Path, umask: int = 0o022, **environ: str) -> bytes:
    """Run `make xpi` in a tree."""
    subprocess.run(
        ["make", "--silent", "xpi", f"PYTHON={sys.executable}", f"XPI={out}"],
        cwd=tree, check=True, timeout=PATIENCE, umask=umask,
        env={"PATH": os.environ["PATH"], **environ},
    )  # fmt: skip
    return out.read_bytes()


def test_make_writes_the_same_bytes_each_time(tmp_path: Path) -> None:
    first = made(ROOT, tmp_path / "first.xpi")
    assert made(ROOT, tmp_path / "second.xpi") == first
    # A copy with other times, other modes, another order in its folders.
    other = tmp_path / "other"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src", other / "src", symlinks=True, ignore=ignored)
    shutil.copytree(ROOT / "clients", other / "clients", copy_function=shutil.copyfile)
    for name in ("Makefile", "scripts/xpi.py"):
        (other / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, other / name)
    for number, path in enumerate(sorted((other / "clients/thunderbird").rglob("*"), reverse=True)):
        path.chmod(0o700)
        os.utime(path, (number * 10**8, number * 10**8))
    elsewhere = {"TZ": "Asia/Kathmandu", "LC_ALL": "tr_TR.UTF-8", "PYTHONHASHSEED": "7",
                 "PYTHONOPTIMIZE": "2", "SOURCE_DATE_EPOCH": "1"}  # fmt: skip
    assert made(other, tmp_path / "third.xpi", 0o077, **elsewhere) == first


def test_the_installed_package_has_every_source(tmp_path: Path) -> None:
    """And so what it builds is what `make xpi` builds."""
    installed = Path(CLIENTS)
    assert Path(mailbell.__file__).parent == installed.parent
    listed = subprocess.run(
        ["git", "ls-files", "-z", "clients"], cwd=ROOT, capture_output=True, check=False
    ).stdout
    # Without git, what is there is compared, with what was built beside the sources.
    names = [Path(os.fsdecode(name)) for name in listed.split(b"\0") if name]
    names = names or [path.relative_to(ROOT) for path in (ROOT / "clients").rglob("*.*")]
    assert names
    for name in names:
        if (ROOT / name).is_file():
            copy = installed.parent / name
            assert copy.read_bytes() == (ROOT / name).read_bytes(), name
    data = build(read_sources(str(installed / "thunderbird")), mailbell.__version__)
    assert data == made(ROOT, tmp_path / "mailbell.xpi")


def test_thunderbird_finds_its_id_in_the_manifest() -> None:
    archive = opened(build(read_sources(f"{CLIENTS}/thunderbird"), "1"))
    manifest = json.loads(archive.read("manifest.json"))
    assert manifest["browser_specific_settings"]["gecko"]["id"] == IDENTITY
    assert "META-INF/" not in " ".join(archive.namelist())


def test_it_is_looked_for_where_it_is_put() -> None:
    """`mailbell clients` finds what `mailbell install` has installed."""
    assert f"{place.FOLDER}/{place.NAME}" in presets()["thunderbird"].helper


def test_the_program_says_how_it_is_called(capfd: pytest.CaptureFixture[str]) -> None:
    done = subprocess.run([sys.executable, ROOT / "scripts/xpi.py"], check=False, timeout=PATIENCE)
    assert done.returncode == 64
    assert "usage: " in capfd.readouterr().err
