"""Sphinx: this folder as a site (`make docs`). Warnings are errors; `test_examples.py` runs the examples."""

from __future__ import annotations

import sys
from pathlib import Path

from enxuto import __version__

sys.path.insert(0, str(Path(__file__).parent / "site_parts"))  # the last four extensions

project = "enxuto"
author = "the authors of enxuto"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "command_pages", "docstrings", "mathml", "web_page"]
exclude_patterns = ["_build", "web"]

myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_heading_anchors = 4
highlight_language = "none"
smartquotes = False  # --bits is an option, not a dash

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 100

html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"enxuto {__version__}"
html_copy_source = False
html_static_path: list[str] = []
