"""Configuration of Sphinx, with which `make docs` builds these pages."""

from __future__ import annotations

import re

from sphinx.application import Sphinx

from unblur import __version__

project = "unblur"
author = "The unblur authors"
project_copyright = author
release = version = __version__

extensions = ["myst_parser", "sphinx_click"]
myst_heading_anchors = 3
smartquotes = False  # -- begins an option

html_theme = "furo"
html_title = f"unblur {release}"
html_copy_source = False
html_show_sphinx = False


def setup(app: Sphinx) -> None:
    """Register this module's functions with Sphinx."""
    app.connect("source-read", name_files_outside)


def name_files_outside(app: Sphinx, page: str, source: list[str]) -> None:
    """Replace links to repository files that are not part of these pages by the files' names."""
    source[0] = re.sub(
        r"(?<!!)\[([^\]]+)\]\(\.\./([^)#]+\.md)[^)]*\)", r"\1 (`\2` in the source)", source[0]
    )
