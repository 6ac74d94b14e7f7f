"""The add-on's files: each is strict JavaScript, the deciding ones act on nothing, none is lost."""

import json
import re
from pathlib import Path
from typing import Final

import pytest
from harness.v8 import ADDON, Script, core_files, parts
from py_mini_racer import JSEvalException, JSParseException, MiniRacer

import mailbell

SCRIPTS: Final = sorted(ADDON.rglob("*.js"))
NAMES: Final = [str(path.relative_to(ADDON)) for path in SCRIPTS]
MANIFEST: Final = json.loads((ADDON / "manifest.json").read_text())

# What a program of Thunderbird's main process may act with. Files that decide name none of it.
ACTING: Final = re.compile(
    r"\b(Services|Components|ChromeUtils|C[ciru]|ExtensionCommon|IOUtils|PathUtils|Date|console"
    r"|Math\.random|performance|dump|eval|Function|import|require|browser|window|document)\b"
    r"|\b(?<!world\.)(?<!this\._world\.)(setTimeout|clearTimeout)\("
)


def code(path: Path) -> str:
    """A file without its comments and its texts."""
    text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
    text = re.sub(r"(?m)(^|\s)//.*$", "", text)
    return re.sub(r'"(\\.|[^"\\\n])*"', '""', text)


@pytest.mark.parametrize("path", SCRIPTS, ids=NAMES)
def test_each_file_is_strict_and_says_what_it_is_for(path: Path) -> None:
    text = path.read_text()
    first, _, rest = text.partition("*/")
    assert first.startswith("/* ")
    assert len(first) > 40
    assert rest.lstrip().startswith('"use strict";\n')
    assert text.isascii()
    assert text.endswith(("}\n", ";\n"))
    assert all(len(line) <= 100 for line in text.splitlines())
    assert len(text.splitlines()) < 300


@pytest.mark.parametrize("path", SCRIPTS, ids=NAMES)
def test_each_file_is_javascript(path: Path) -> None:
    """V8 reads all of it, also the functions that it would read only when they are called."""
    MiniRacer().eval(f"(function () {{{path.read_text()}}})")


def test_a_fault_in_a_function_that_is_not_called_would_be_found() -> None:
    with pytest.raises((JSParseException, JSEvalException)):
        MiniRacer().eval('(function () {"use strict"; function f() { with (a) {} }})')


@pytest.mark.parametrize("path", core_files(), ids=lambda path: path.name)
def test_what_decides_acts_on_nothing(path: Path) -> None:
    assert ACTING.findall(code(path)) == []


@pytest.mark.parametrize(
    "acting",
    ["Services.io", "new Date()", "Date.now()", "Math.random()", "setTimeout(f)", "Cc[x]", "Cu.x"],
)
def test_what_acts_would_be_found(acting: str) -> None:
    assert ACTING.search(acting)
    assert not ACTING.search("this._world.setTimeout(f)")


def test_every_file_is_loaded_and_uses_only_files_before_it() -> None:
    folders = [ADDON / "core", ADDON / "thunderbird"]
    assert sorted(parts()) == sorted(
        str(path.relative_to(ADDON)) for folder in folders for path in folder.iterdir()
    )
    # Each file that decides can be loaded with those before it alone.
    for number in range(len(core_files())):
        Script(*core_files()[: number + 1])


def test_no_two_files_use_a_name_for_two_things() -> None:
    """They share one scope, where the later function would silently replace the earlier one."""
    texts = [(ADDON / part).read_text() for part in parts()]
    declared = re.compile(r"(?m)^(?:const|let|var|function|class) (\w+)|^this\.(\w+) =")
    names = [one or other for text in texts for one, other in declared.findall(text)]
    assert len(names) > 40
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("path", SCRIPTS, ids=NAMES)
def test_nothing_becomes_code_or_markup(path: Path) -> None:
    forbidden = re.compile(r"\b(eval|Function|innerHTML|outerHTML|insertAdjacentHTML|Sandbox)\b")
    assert forbidden.findall(code(path)) == []


def test_the_manifest_is_of_this_version_and_names_what_there_is() -> None:
    assert MANIFEST["version"] == mailbell.__version__
    gecko = MANIFEST["browser_specific_settings"]["gecko"]
    assert gecko["id"] == "thunderbird@mailbell.org"
    api = MANIFEST["experiment_apis"]["mailbell"]
    named = [
        api["schema"], api["parent"]["script"], MANIFEST["options_ui"]["page"],
        *MANIFEST["icons"].values(), f"_locales/{MANIFEST['default_locale']}/messages.json",
    ]  # fmt: skip
    assert [name for name in named if not (ADDON / name).is_file()] == []


def test_the_add_on_asks_for_nothing_that_it_does_not_need() -> None:
    """No permission, no page that reads mail, no script in a message, no policy of its own."""
    assert set(MANIFEST) == {
        "manifest_version", "name", "version", "description", "default_locale", "icons",
        "browser_specific_settings", "options_ui", "experiment_apis",
    }  # fmt: skip


def test_the_only_words_that_are_sent_are_the_call() -> None:
    """What is written to a socket is one of two constants, calls that mailbelld knows."""
    text = (ADDON / "thunderbird" / "socket.js").read_text()
    assert text.count("write(") == 1
    assert "const call = CALLS.get(listener.call);\n    output.write(call, call.length);" in text
    found = re.findall(r"'([^']*)\\0'", text)
    assert [json.loads(call) for call in found] == [
        {"method": "org.mailbell.Listener.Subscribe", "more": True, "parameters": {}},
        {"method": "org.varlink.service.GetInfo", "parameters": {}},
    ]
