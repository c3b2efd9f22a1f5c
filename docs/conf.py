"""The manual: `make docs` builds it into site/, which opens without a network; a warning ends the build."""

project = "gmvae"
author = "gmvae contributors"
html_title = "gmvae"
html_theme = "furo"
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False

extensions = ["myst_parser"]
myst_heading_anchors = 3  # levels of headings that a link may name
suppress_warnings = ["misc.highlighting_failure"]  # what a console prints is no language
