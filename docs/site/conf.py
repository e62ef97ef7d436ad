"""Settings of Sphinx for the documentation site. Nothing of it is loaded from a network, formulas included."""

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert

from crow import __version__

project = "crow"
copyright = "The crow authors"
version = release = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "numpydoc"]
nb_execution_mode = "off"  # notebooks are committed with their results
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
html_theme = "furo"
html_title = f"crow {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_math_renderer = "mathml"


def formula(writer: Any, node: nodes.Element) -> None:
    """A formula as MathML, which browsers draw themselves."""
    display = "block" if isinstance(node, nodes.math_block) else "inline"
    writer.body.append(convert(node.astext(), display=display))
    raise nodes.SkipNode


def setup(app: Any) -> None:
    """Add the renderer of formulas."""
    app.add_html_math_renderer("mathml", (formula, None), (formula, None))
