"""How the guide becomes a site: `make docs`. Nothing is loaded from other hosts, neither while it is built nor while it is read."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import reference

reference.write()

project = "Dashboard refresh"
copyright = ""
language = "en"

extensions = ["myst_parser"]
myst_heading_anchors = 4  # every heading down to this level can be linked to by its words
myst_enable_extensions = ["colon_fence"]

smartquotes = False  # examples are to be copied as they are

html_theme = "furo"
html_title = "Dashboard refresh"
html_copy_source = False
html_show_copyright = False
html_show_sourcelink = False
html_show_sphinx = False
