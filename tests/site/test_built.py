"""The built site: strict, without a word to another host, and no page wider than a telephone."""

import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

import pytest
from documents.blocks import block
from packages.roots import INSTALLS
from service_files.units import require

from scripts.site import __main__ as site
from scripts.site.stage import load, stage

ROOT: Final = Path(__file__).resolve().parents[2]
NAVIGATION: Final = load(ROOT / "scripts" / "site" / "navigation.toml")
PATIENCE: Final = 300  # seconds; a build takes ten
WIDE: Final = 390  # the width of many telephones, in CSS pixels

pytestmark = pytest.mark.skipif(
    not INSTALLS, reason="the site is not installed; the stage `documents` of .ci/run installs it"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the site that the command of docs/building.md builds."""
    line = block("docs/building.md", "The site of the documents").text.strip()
    words = [*line.removeprefix("$ ").split(), f"VENV={sys.prefix}"]
    subprocess.run(words, cwd=ROOT, stdin=subprocess.DEVNULL, check=True, timeout=PATIENCE)
    return shutil.copytree(ROOT / "dist" / "site", tmp_path_factory.mktemp("built") / "site")


def pages(built: Path) -> list[Path]:
    return sorted(built.rglob("*.html"))


def test_every_document_is_a_page(built: Path) -> None:
    named = [page for section in NAVIGATION["section"] for page in section["pages"]]
    assert len(named) > 30
    for page in ["index.md", *named]:
        text = (built / page).with_suffix(".html").read_text()
        assert "<h1>" in text


@pytest.mark.parametrize(
    ("added", "complaint"),
    [
        ("[x](docs/agent.md#there-is-no-such-heading)", "there-is-no-such-heading"),
        ("[x](#there-is-no-such-heading)", "there-is-no-such-heading"),
        ("![x](docs/there-is-no-such-picture.png)", "there-is-no-such-picture"),
    ],
)
def test_what_leads_nowhere_fails(
    added: str, complaint: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stage(ROOT, tmp_path / "source", NAVIGATION)
    for page in (tmp_path / "source").rglob("*.md"):  # a few pages are enough
        if page.name not in {"index.md", "agent.md"}:
            page.unlink()
    index = tmp_path / "source" / "index.md"
    index.write_text(f"# A\n\n{added}\n\n```{{toctree}}\ndocs/agent\n```\n")
    (tmp_path / "source" / "docs" / "agent.md").write_text("# B\n\n## There is one\n")
    with pytest.raises(subprocess.CalledProcessError):
        site.render(tmp_path / "source", tmp_path / "work", tmp_path / "site")
    assert complaint in capfd.readouterr().err
    index.write_text(index.read_text().replace(added, "[x](docs/agent.md#there-is-one)"))
    site.render(tmp_path / "source", tmp_path / "work", tmp_path / "site")


class Requests(HTMLParser):
    """Finds what a browser fetches when it opens a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            fetched = name in {"src", "srcset", "poster", "data"} or (tag, name) == ("link", "href")
            if fetched and value:
                self.found.append(value)
            if name == "style" and value:
                self.found += urls(value)


def urls(style: str) -> list[str]:
    imported = re.findall(r"@import\s+[\"']([^\"']+)", style)
    return imported + re.findall(r"url\(\s*[\"']?([^)\"']+)", style)


def foreign(places: list[str]) -> list[str]:
    return [place for place in places if re.match(r"(?!data:)[a-z][a-z0-9+.-]*:|//", place)]


def requests(page: str) -> list[str]:
    parser = Requests()
    parser.feed(page)
    return parser.found


def test_a_page_asks_no_other_host(built: Path) -> None:
    count = 0
    for page in pages(built):
        found = requests(page.read_text())
        count += len(found)
        assert foreign(found) == [], page
    for style in built.rglob("*.css"):
        assert foreign(urls(style.read_text())) == [], style
    assert count > 200


def test_a_request_to_another_host_would_be_found() -> None:
    page = (
        '<link href="https://a.example/x.css"><img src="//a.example/y"><p style="a:url(http://b)">'
    )
    assert foreign(requests(page)) == ["https://a.example/x.css", "//a.example/y", "http://b"]
    assert foreign(urls("@import 'https://a.example/z';")) == ["https://a.example/z"]


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files, and writes no log."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the library's name)
        """Say nothing."""


@pytest.fixture(scope="module")
def served(built: Path) -> Iterator[str]:
    handler = partial(Quiet, directory=str(built))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


# Frames of the same origin, so that the script may measure them. The load event of the page comes
# when all of them are loaded.
_MEASURE: Final = """
<!DOCTYPE html><title>widths</title><body><script>
addEventListener("load", () => {
  const widths = {};
  for (const frame of document.querySelectorAll("iframe")) {
    widths[frame.dataset.page] = frame.contentDocument.documentElement.scrollWidth;
  }
  document.body.replaceChildren(JSON.stringify(widths));
});
</script>
"""


def widths(served: str, built: Path, names: list[str], profile: Path) -> dict[str, int]:
    """Return how wide a browser makes each page on a narrow screen, in CSS pixels."""
    frames = "".join(
        f'<iframe data-page="{name}" src="/{name}" width="{WIDE}" height="800"></iframe>'
        for name in names
    )
    (built / "measure.html").write_text(_MEASURE + frames)
    try:
        done = subprocess.run(
            [
                "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
                "--no-first-run", "--disable-background-networking", "--disable-component-update",
                "--disable-sync", "--hide-scrollbars", f"--user-data-dir={profile}", "--dump-dom",
                f"{served}/measure.html",
            ],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, timeout=PATIENCE,
        )  # fmt: skip
    finally:
        (built / "measure.html").unlink()
    found = re.search(r"\{.*\}", done.stdout.partition("</script>")[2] or done.stdout)
    assert found, done.stderr
    measured: dict[str, int] = json.loads(found[0])
    return measured


def test_no_page_is_wider_than_a_telephone(built: Path, served: str, tmp_path: Path) -> None:
    require("chromium")
    wide = built / "wide.html"
    wide.write_text('<!DOCTYPE html><p style="width: 500px">wide')
    names = [str(page.relative_to(built)) for page in pages(built)]
    measured = widths(served, built, names, tmp_path)
    wide.unlink()
    assert set(measured) == set(names)
    assert measured.pop("wide.html") > WIDE  # so a page that is too wide is seen
    assert {page: width for page, width in measured.items() if width > WIDE} == {}


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    copy = tmp_path / "project"
    shutil.copytree(
        ROOT, copy, symlinks=True,
        ignore=shutil.ignore_patterns(".git", ".venv*", ".cache", "dist", "build", "__pycache__"),
    )  # fmt: skip
    (copy / "docs" / "new.md").write_text("# New\n\n[gone](gone.md)\n")
    done = subprocess.run(
        [sys.executable, "-m", "scripts.site", tmp_path / "site"],
        cwd=copy, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 65
    assert done.stderr == "docs/new.md: it is not in navigation.toml\n"
