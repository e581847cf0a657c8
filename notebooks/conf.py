"""The book: what Sphinx needs to know. `make book` calls it; the reading of notebooks is in `alcl.paper.book`."""

import os
from importlib.metadata import files
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

project = "ALCL"
author = ""
html_title = "ALCL: an adaptive log-correntropy loss"
html_show_copyright = False
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.mathjax",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinxcontrib.bibtex",
    "sphinx_copybutton",
    "alcl.paper.book",
]
root_doc = "index"
include_patterns = ["*.md", "*.ipynb", "book/*.md"]
nb_execution_mode = "off"  # the committed outputs are what was checked
nb_render_markdown_format = "myst"  # links in what a cell displays are links of the book
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
default_role = "py:obj"
toc_object_entries_show_parents = "hide"  # a class's name before each of its methods does not fit the margin
autodoc_preserve_defaults = True  # a default of the machine that builds is nobody else's
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_maximum_signature_line_length = 100
autodoc_default_options = {"members": True, "show-inheritance": True, "ignore-module-all": True}
napoleon_use_rtype = False
bibtex_bibfiles = ["references.bib"]
bibtex_cite_id = "cite-{key}"
copybutton_exclude = ".linenos, .gp, .go"

# One file of MathJax, so that the pages need no network; its other 22 MB are not copied.
mathjax = next(f for f in files("sphinx-mathjax-offline") if f.name == "tex-svg.js")
mathjax_path = "tex-svg.js"
mathjax_options = {"defer": "defer"}
myst_update_mathjax = False
mathjax3_config = {
    "tex": {"inlineMath": [["\\(", "\\)"], ["$", "$"]], "processEscapes": True},
    "options": {
        "ignoreHtmlClass": "tex2jax_ignore|mathjax_ignore|document",
        "processHtmlClass": "tex2jax_process|mathjax_process|math|output_area|text_html",
        # Its keyboard explorer makes every formula a stop of the Tab key.
        "menuOptions": {"settings": {"assistiveMml": True}},
    },
}

html_theme = "sphinx_book_theme"
html_static_path = ["book/book.css", "book/book.js", "explorer/explorer.js", str(mathjax.locate())]
html_css_files = ["book.css"]
html_js_files = ["book.js"]
html_sourcelink_suffix = ""
html_domain_indices = False
html_context = {"default_mode": "auto"}
html_theme_options = {
    "navbar_persistent": [],
    "use_download_button": True,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
}
# A link to edit a page stands only where somebody says where: BOOK_REPOSITORY=https://host/owner/name.
if repository := os.environ.get("BOOK_REPOSITORY"):
    html_theme_options |= {
        "repository_url": repository,
        "repository_branch": os.environ.get("BOOK_BRANCH", "main"),
        "path_to_docs": "notebooks",
        "use_repository_button": True,
        "use_edit_page_button": True,
    }


def setup(app):
    app.set_html_assets_policy("always")  # formulas also stand in tables that cells have displayed
