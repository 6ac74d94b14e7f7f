"""Build the site of the documents: `python -m scripts.site [FOLDER]`. `make docs` runs it.

FOLDER is dist/site unless another one is named. It fails for a dead link or anchor, for a document
that is not in the navigation, and for every other warning.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from scripts.site.stage import DocumentsError, load, stage

ROOT: Final = Path(__file__).resolve().parents[2]
HERE: Final = Path(__file__).parent
WORK: Final = ROOT / ".cache" / "site"


def build(root: Path, work: Path, folder: Path) -> None:
    """Build the site.

    Args:
        root: the project's folder.
        work: a folder for what is only needed meanwhile.
        folder: where the site is put; what is in it is removed.

    Raises:
        DocumentsError: the documents make no site.
        OSError, subprocess.CalledProcessError: as in `stage`, or Sphinx fails. It has said why.
    """
    stage(root, work / "source", load(HERE / "navigation.toml"))
    render(work / "source", work, folder)


def render(source: Path, work: Path, folder: Path) -> None:
    """Let Sphinx make the pages.

    Args:
        source: the documents, as `stage` writes them.
        work: a folder for what is only needed meanwhile.
        folder: where the site is put; what is in it is removed.

    Raises:
        OSError, subprocess.CalledProcessError: Sphinx fails. It has said why.
    """
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(  # noqa: S603 (no word of it is from outside)
        [
            sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--nitpicky",
            "--fresh-env", "--quiet", "--builder", "html",
            "--conf-dir", HERE, "--doctree-dir", work / "doctrees", source, folder,
        ],
        stdin=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    (folder / ".buildinfo").unlink(missing_ok=True)


def main(words: list[str]) -> int:
    """Build the site and print where it is; return the exit code."""
    if len(words) > 1 or words[:1] == ["--help"]:
        print("usage: python -m scripts.site [FOLDER]", file=sys.stderr)
        return 64
    folder = Path(words[0]) if words else ROOT / "dist" / "site"
    try:
        build(ROOT, WORK, folder)
    except DocumentsError as error:
        print(error, file=sys.stderr)
        return 65
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"docs: {error}", file=sys.stderr)
        return 69
    print(folder / "index.html")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
