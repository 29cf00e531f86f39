"""How `make docs` builds these pages with Sphinx."""

from __future__ import annotations

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
