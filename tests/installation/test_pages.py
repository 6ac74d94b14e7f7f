"""Links to manual pages: made, kept, undone."""

import os
import sysconfig
from pathlib import Path

import pytest

from mailbell.installation._files import is_our_link
from mailbell.installation._pages import PageStep, page_links, page_steps
from mailbell.installation.services import ALL, LISTENER


@pytest.fixture
def page(tmp_path: Path) -> Path:
    page = tmp_path / "environment" / "share" / "man" / "man8" / "mailbelld.8"
    page.parent.mkdir(parents=True)
    page.write_text(".TH MAILBELLD 8\n")
    os.chmod(page, 0o644)
    return page


def test_a_page_is_linked_and_the_link_undone(page: Path, tmp_path: Path) -> None:
    man = tmp_path / "man"
    step = PageStep(str(page), str(man))
    link = man / "man8" / "mailbelld.8"
    assert step.path == str(link)
    assert step.what == f"link {link} to {page}"
    step.check()
    assert not step.is_done()
    step.do()
    assert is_our_link(step.path)
    assert link.read_text() == page.read_text()
    step.undo()
    assert not man.exists()


def test_a_page_of_something_else_stays(page: Path, tmp_path: Path) -> None:
    link = tmp_path / "man" / "man8" / "mailbelld.8"
    link.parent.mkdir(parents=True)
    link.write_text("another page\n")
    step = PageStep(str(page), str(tmp_path / "man"))
    step.check()
    assert step.is_done()
    assert step.there == f"keep {link}, which mailbell install has not made"


def test_a_link_of_the_installer_of_python_needs_no_other(page: Path, tmp_path: Path) -> None:
    step = PageStep(str(page), str(tmp_path / "man"))
    Path(step.path).parent.mkdir(parents=True)
    os.symlink(page, step.path)
    step.check()
    assert step.is_done()
    assert step.there == ""


def test_a_link_that_leads_elsewhere_is_ours_and_renewed(page: Path, tmp_path: Path) -> None:
    step = PageStep(str(page), str(tmp_path / "man"))
    link = Path(step.path)
    link.parent.mkdir(parents=True)
    os.symlink("/opt/old/share/man/man8/./mailbelld.8", link)
    step.check()
    assert not step.is_done()
    step.do()
    assert link.resolve() == page
    step.undo()
    assert os.readlink(link) == "/opt/old/share/man/man8/./mailbelld.8"


def test_each_page_of_the_wheel_is_of_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).resolve().parents[2]
    shipped = {path.name for path in (root / "man").glob("*/*")}
    assert {name for service in ALL for name in service.pages} == shipped
    assert {os.path.basename(path) for path in page_links()} == shipped
    paths = [step.path for step in page_steps(LISTENER)]
    assert paths == [f"/usr/local/share/man/man{name[-1]}/{name}" for name in LISTENER.pages]
    assert set(paths) < set(page_links())
    monkeypatch.setattr(sysconfig, "get_path", lambda _: "/nowhere")
    assert list(page_steps(LISTENER)) == []
