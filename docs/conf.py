"""Sphinx configuration: MyST Markdown, furo, and the reference drawn from docstrings."""

from importlib.metadata import version as installed_version

project = "EchoApex"
author = "The EchoApex authors"
copyright = "2026, The EchoApex authors. Research software, not a medical device"
release = installed_version("echoapex")
version = release

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 3

autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": False}
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "EchoApex"
html_theme_options = {
    "announcement": "Research software, not a medical device: not for diagnosis or treatment.",
    "light_css_variables": {"color-brand-primary": "#9c2f3f", "color-brand-content": "#9c2f3f"},
    "dark_css_variables": {"color-brand-primary": "#e58a97", "color-brand-content": "#e58a97"},
}
