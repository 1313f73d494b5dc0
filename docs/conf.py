"""Sphinx configuration: MyST Markdown, furo, and the references that are made from the code."""

import sys
from importlib.metadata import version as installed_version
from importlib.util import find_spec
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS))

from reference_pages import write_pages  # noqa: E402  (it lies beside this file)
from sphinx.application import Sphinx  # noqa: E402

project = "EchoApex"
author = "The EchoApex authors"
copyright = "2026, The EchoApex authors. Research software, not a medical device"
release = installed_version("echoapex")
version = release

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb", ".rst": "restructuredtext"}
nb_execution_mode = "off"  # they are kept with what they showed; the tests run them
exclude_patterns = ["_build"]
default_role = "code"
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 3

autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_default_options = {
    "members": True,
    "show-inheritance": False,
    "ignore-module-all": True,
    "exclude-members": "model_config",
}
_OPTIONAL = ("alembic", "dicomweb_client", "lance", "mlflow", "pg8000", "pyarrow", "pynetdicom", "ray", "requests")
autodoc_mock_imports = [name for name in (*_OPTIONAL, "sqlalchemy", "tensorboard") if not find_spec(name)]
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
suppress_warnings = ["ref.python"]  # a type named in two rooms, in a hint that is not resolved at run time: no link

html_theme = "furo"
html_title = "EchoApex"
html_theme_options = {
    "announcement": "Research software, not a medical device: not for diagnosis or treatment.",
    "light_css_variables": {"color-brand-primary": "#9c2f3f", "color-brand-content": "#9c2f3f"},
    "dark_css_variables": {"color-brand-primary": "#e58a97", "color-brand-content": "#e58a97"},
}


def setup(app: Sphinx) -> None:
    """Write the references from the code before Sphinx looks for pages."""
    app.connect("config-inited", lambda app, config: write_pages(DOCS))
