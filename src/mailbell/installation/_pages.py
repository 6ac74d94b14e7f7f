"""Links to the manual pages of an environment, where man(1) looks for them.

The wheel has the pages in `share/man` of its environment. man(1) finds them there only for who has
the environment's own folder of programs in PATH. A page that something else has put in the place
stays, because no service depends on it.
"""

import os
import sysconfig
from collections.abc import Iterator
from typing import Final

from mailbell.installation._files import LinkStep, is_our_link
from mailbell.installation.services import ALL, Service

__all__ = ["PageStep", "page_links", "page_steps"]

_MAN: Final = "/usr/local/share/man"


class PageStep(LinkStep):
    """A manual page that every person must find.

    Args:
        page: its path in the environment.
        man: the folder of manual pages in which the link is made.
    """

    def __init__(self, page: str, man: str = _MAN) -> None:
        folder = os.path.join(man, os.path.basename(os.path.dirname(page)))
        super().__init__(folder, page, folder)

    @property
    def there(self) -> str:
        """The step as the person is told, if nothing must be done; "": there is nothing to tell."""
        if is_our_link(self.path):
            return f"{self.path} is in place already"
        if self._leads_here(self.path):
            return ""  # pipx has made a link of its own
        return f"keep {self.path}, which mailbell install has not made"

    def _is_foreign(self) -> bool:
        return os.path.lexists(self.path) and not is_our_link(self.path)

    def check(self) -> None:
        """Refuse a folder of another user."""
        if not self._is_foreign():
            super().check()

    def is_done(self) -> bool:
        """Tell whether there is a page already."""
        return self._is_foreign() or super().is_done()


def page_steps(service: Service) -> Iterator[PageStep]:
    """Yield the steps for the manual pages of a service.

    Args:
        service: the service.

    Yields:
        A step for each page that the environment has. An editable installation has none.
    """
    for name in service.pages:
        page = os.path.join(sysconfig.get_path("data"), "share", "man", f"man{name[-1]}", name)
        if os.path.exists(page):
            yield PageStep(page)


def page_links() -> Iterator[str]:
    """Yield the paths of all links that `page_steps` may make, each once."""
    for name in sorted({name for service in ALL for name in service.pages}):
        yield os.path.join(_MAN, f"man{name[-1]}", name)
