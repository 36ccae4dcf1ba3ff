"""Sphinx configuration of the guide: `make docs`. Neither the build nor the site loads anything from other hosts."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import reference

reference.write()

project = "Dashboard refresh"
copyright = ""
language = "en"

extensions = ["myst_parser"]
myst_heading_anchors = 4  # headings down to this level get an anchor
myst_enable_extensions = ["colon_fence"]

smartquotes = False  # keep quotes in examples as they are

html_theme = "furo"
html_title = "Dashboard refresh"
html_copy_source = False
html_show_copyright = False
html_show_sourcelink = False
html_show_sphinx = False
