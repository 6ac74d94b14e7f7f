"""What Sphinx is told for the site of the documents: `scripts/site/__main__.py` runs it.

A page asks no other host for anything: the theme brings its scripts, and takes the fonts of the
reader's machine.
"""

from pathlib import Path
from typing import Any, Final

from pygments.lexers.special import TextLexer

from mailbell import __version__

project = "mailbell"
author = "The mailbell authors"
release = version = __version__
html_title = f"mailbell {__version__}"
language = "en"

extensions = ["myst_parser"]
root_doc = "index"
html_theme = "furo"
html_static_path = [str(Path(__file__).with_name("static"))]
html_css_files = ["mailbell.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
# The names that GitHub gives to headings: the links of the documents hold there and here.
myst_heading_anchors = 6
# Every reference that cannot be resolved is a warning, and every warning a failure.
nitpicky = True
# Documents write quotation marks and dashes as they are to be shown.
smartquotes = False

# Languages of blocks for which Pygments has no colours.
_PLAIN: Final = ("nft",)


def setup(app: Any) -> None:
    """Show blocks of some languages without colours; Sphinx calls it."""
    for name in _PLAIN:
        app.add_lexer(name, TextLexer)
