"""The add-on's page in the real Thunderbird, where a person finds it, reads it and uses it."""

import base64
import json
from typing import Any, Final

from harness.daemon import until
from mail_programs.thunderbird import ADDON, Thunderbird

__all__ = ["Page"]

# The page is a browser within the tab of the add-ons' manager.
_FIND: Final = """
const window = Services.wm.getMostRecentWindow("mail:3pane");
const inside = document => [...document.querySelectorAll("browser")].flatMap(
  each => [each, ...(each.contentDocument ? inside(each.contentDocument) : [])]
);
const url = WebExtensionPolicy.getByID(args[0]).getURL("settings/settings.html");
const page = window && inside(window.document).find(each => each.currentURI?.spec == url);
"""

# The window is ready when it has its first tab.
_OPEN: Final = """
if (!window?.document.getElementById("tabmail")?.tabInfo.length) {
  return false;
}
window.openAddonsMgr(`addons://detail/${encodeURIComponent(args[0])}/preferences`);
return true;
"""

# The page runs in another process, where Marionette has a part too.
_WITHIN: Final = """
const inner = page?.browsingContext.currentWindowGlobal;
if (inner?.documentURI.spec != url) {
  return null;
}
const actor = inner.getActor("MarionetteCommands");
const where = { sandboxName: "default", newSandbox: true };
return await actor.executeScript(args[1], [], where).catch(error => {
  if (error.name != "AbortError") { // the page is drawn anew
    throw error;
  }
  return null;
});
"""


class Page:
    """Opens the page in the add-ons' manager.

    Args:
        thunderbird: whose page it is.
    """

    def __init__(self, thunderbird: Thunderbird) -> None:
        self._thunderbird = thunderbird
        until(lambda: thunderbird.run(_FIND + _OPEN, ADDON), "a window")
        self._until_drawn()

    def run(self, script: str) -> Any:
        """Run the body of a function in the page; None: the page is not there yet."""
        return self._thunderbird.run(_FIND + _WITHIN, ADDON, script)

    def reload(self) -> None:
        """Have it drawn anew, as for a person who opens it once more."""
        self.run("document.body.dataset.old = 'yes'; document.location.reload();")
        self._until_drawn()

    def _until_drawn(self) -> None:
        drawn = """
          const old = document.body?.dataset.old;
          return !old && Boolean(document.getElementById("headline")?.textContent);
        """
        until(lambda: self.run(drawn), "a status on the page")

    def text(self, name: str | None = None) -> str:
        """What a person reads: of the page, or of an element by its id."""
        place = f"document.getElementById({json.dumps(name)})" if name else "document.body"
        shown = f"return {place}?.checkVisibility() ? {place}.innerText : '';"
        return self.run(shown) or ""

    def until_says(self, words: str, name: str | None = None) -> None:
        """Wait until a person reads these words, anywhere or in an element."""
        until(lambda: words in self.text(name), f"{words!r} in {self.text(name)!r}")

    def write(self, field: str, text: str) -> None:
        """Write into the field that has this name."""
        self.run(f"document.getElementById({json.dumps(f'field-{field}')}).value = "
                 f"{json.dumps(text)};")  # fmt: skip

    def click(self, name: str) -> None:
        """Click on the button that has this id."""
        self.run(f"document.getElementById({json.dumps(name)}).click();")

    def picture(self) -> bytes:
        """How Thunderbird's window looks: PNG."""
        taken = self._thunderbird.marionette.call("WebDriver:TakeScreenshot", {"full": False})
        return base64.b64decode(taken["value"])
