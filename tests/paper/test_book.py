"""The book builds without a warning, is closed in itself, and shows what its sources hold; each gate can fail."""

import importlib
import inspect
import json
import pkgutil
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

import alcl
from alcl.paper import book as reading
from alcl.paper.theorems import Theorem, find_theorems

ROOT = Path(__file__).resolve().parents[2]
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


class Page(HTMLParser):
    """What one page holds: ids, links, what it loads, pictures, and text that is neither code nor math."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loads, self.pictures, self.prose, self.open = set(), [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids |= {found[key] for key in ("id", "name") if found.get(key)}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag == "link" and found.get("rel") not in ("canonical", "search", "index", "next", "prev"):
            self.loads.append(found["href"])
        elif found.get("src"):
            self.loads.append(found["src"])
        if tag == "img":
            self.pictures.append(found)
        if tag not in VOID:
            # What a cell has displayed as HTML is set by MathJax in the page; the browser's test looks at it.
            closed = {"math", "text_html"} & set((found.get("class") or "").split())
            self.open.append((tag, bool(closed) or tag in ("pre", "code", "script", "style", "svg")))

    def handle_endtag(self, tag):
        while self.open and tag not in VOID:
            if self.open.pop()[0] == tag:
                break

    def handle_data(self, data):
        if not any(closed for _, closed in self.open):
            self.prose.append(data)


def read(folder):
    """{path within the folder: its page}."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*.html")]
    return {name: Page((folder / name).read_text("utf-8")) for name in names if not name.startswith("_static/")}


def broken_links(folder, pages):
    """Links and loaded files that do not exist, and fragments that no page has."""
    problems = []
    for name, page in pages.items():
        for link in [*page.links, *page.loads]:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            path = (folder / name).parent / unquote(parts.path) if parts.path else folder / name
            if not path.is_file():
                problems.append(f"{name}: {link}")
            elif parts.fragment and path.suffix == ".html":
                target = pages[path.resolve().relative_to(folder.resolve()).as_posix()]
                if unquote(parts.fragment) not in target.ids:
                    problems.append(f"{name}: {link}")
    return sorted(set(problems))


def requests(folder, pages):
    """What a browser would load from elsewhere."""
    problems = [
        f"{name}: {link}" for name, page in pages.items() for link in page.loads if re.match("(https?:)?//", link)
    ]
    for path in folder.rglob("*.css"):
        loads = re.findall(r"(?:@import\s+|url\()['\"]?((?:https?:)?//[^'\")]+)", path.read_text("utf-8"))
        problems += [f"{path.name}: {link}" for link in loads]
    return problems


def raw_math(pages):
    return [
        f"{name}: {found!r}"
        for name, page in pages.items()
        for found in re.findall(r".{0,40}(?:\$|\\frac|\\alpha).{0,40}", "".join(page.prose))
    ]


def speechless(pages):
    """Figures without a text, or with one that is no more than a file's name."""
    return [
        f"{name}: {picture.get('src')}"
        for name, page in pages.items()
        for picture in page.pictures
        if not re.search(r"[a-z]{2,} |^[A-Z]\w+$", picture.get("alt") or "") or picture["alt"].endswith(".png")
    ]


@pytest.fixture(scope="module")
def pages(book):
    return read(book)


def test_every_link_and_fragment_resolves(book, pages):
    assert sum(len(page.links) for page in pages.values()) > 5000
    assert broken_links(book, pages) == []


def test_nothing_is_loaded_from_elsewhere(book, pages):
    assert requests(book, pages) == []


def test_no_formula_shows_as_its_source(pages):
    assert raw_math(pages) == []


def test_every_figure_has_words(pages):
    assert sum(len(page.pictures) for page in pages.values()) > 50
    assert speechless(pages) == []


def test_every_theorem_leads_to_its_check_and_its_tests_and_back(book):
    theorems = find_theorems(ROOT)
    guards = (book / "book" / "theorems.html").read_text("utf-8")
    for theorem in theorems:
        text = (book / f"{theorem.notebook}.html").read_text("utf-8")
        assert f'id="theorem-{theorem.id}"' in text, theorem.id
        assert f'href="#check-{theorem.id}"' in text, theorem.id
        assert f'href="#theorem-{theorem.id}"' in text, theorem.id
        for guard in theorem.guards:
            anchor = guard.partition("::")[2].lower().replace("_", "-")
            assert f'href="book/theorems.html#{anchor}"' in text, guard
            assert f'id="{anchor}"' in guards, guard


def public():
    """Dotted names of everything public, where it is defined."""
    for found in pkgutil.walk_packages(alcl.__path__, "alcl."):
        if any(part.startswith("_") for part in found.name.split(".")):
            continue
        module = importlib.import_module(found.name)
        for name, value in vars(module).items():
            own = getattr(value, "__module__", None) == found.name and (
                inspect.isclass(value) or inspect.isroutine(value)
            )
            if own and not name.startswith("_") and value.__doc__:
                yield f"{found.name}.{name}"


def test_every_public_name_has_an_entry(pages):
    ids = set().union(*(page.ids for name, page in pages.items() if name.startswith("book/")))
    names = list(public())
    assert len(names) > 150
    assert [name for name in names if name not in ids] == []


def test_every_kind_of_text_links_theorems_notebooks_and_the_library(book):
    """A sample of each: a sentence, a docstring, a table in Markdown, one that a cell displays."""
    for page, pattern in {
        "02_influence.html": r'href="A2_likelihood\.html#theorem-L7">Theorem L7</a>',
        "book/alcl.influence.html": r'href="\.\./02_influence\.html#theorem-I2">I2</a>',
        "ledger.html": r'limited by <a [^>]*href="03_adaptation\.html#theorem-A2">A2</a>',
        "00_start_here.html": r'<td>.*<a [^>]*href="02_influence\.html#theorem-I4">I4</a>',
        "choices.html": r'href="book/alcl\.losses\.html[^>]*>',
        "03_adaptation.html": r'href="book/alcl\.losses\.html#alcl\.losses\.ALCLoss"[^>]*><code',
        "06_benchmark.html": r'href="book/alcl\.experiments\.html#module-alcl\.experiments\.multiverse"[^>]*><code',
    }.items():
        assert re.search(pattern, (book / page).read_text("utf-8")), page
    claims = (book / "07_figures.html").read_text("utf-8")  # there L1 is a theorem, elsewhere a norm
    assert '<th><a href="01_likelihood.html#theorem-L1">L1</a></th>' in claims
    assert ">L1</th>" in (book / "06_benchmark.html").read_text("utf-8")
    test = r'<td>.*<a [^>]*href="book/theorems\.html#test-l2-by-gauss-laguerre"><code'
    assert re.search(test, (book / "00_start_here.html").read_text("utf-8"))


def test_machinery_is_folded_and_outputs_are_seen(book):
    text = (book / "02_influence.html").read_text("utf-8")
    assert "Show the check" in text
    assert "Show the imports" in text
    assert "tag_hide-output" not in text


def test_every_notebook_can_be_downloaded_as_it_is(book):
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert (book / "_sources" / path.name).read_bytes() == path.read_bytes()


def test_edit_links_need_an_address(pages):
    assert [link for page in pages.values() for link in page.links if "/edit/" in link] == []


# ------------------------------------------------------------ each gate can fail


def test_the_gates_can_fail(tmp_path):
    (tmp_path / "a.html").write_text(
        '<a href="b.html#no"></a><a href="b.html#yes"></a><a href="c.html"></a><img src="https://x/y.png" alt="z.png">'
        "<p>a $x$</p><code>$HOME</code><span class='math'>\\frac</span>"
    )
    (tmp_path / "b.html").write_text('<p id="yes">\\frac</p>')
    (tmp_path / "c.css").write_text("@import '//fonts/x.css'; a { background: url(d.png) }")
    pages = read(tmp_path)
    assert broken_links(tmp_path, pages) == ["a.html: b.html#no", "a.html: c.html"]
    assert requests(tmp_path, pages) == ["a.html: https://x/y.png", "c.css: //fonts/x.css"]
    assert sorted(raw_math(pages)) == ["a.html: 'a $x$'", "b.html: '\\\\frac'"]
    assert speechless(pages) == ["a.html: https://x/y.png"]


def test_the_workflow_publishes_what_make_book_builds():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "book.yml").read_text("utf-8"))
    (job,) = workflow["jobs"].values()
    makefile = (ROOT / "Makefile").read_text("utf-8")
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert commands == ["make book"]
    assert re.search(r"^book: .*\n.* notebooks build/book$", makefile, re.MULTILINE)
    used = {step["uses"].partition("@")[0]: step for step in job["steps"] if "uses" in step}
    assert used["actions/upload-pages-artifact"]["with"]["path"] == "build/book"
    assert workflow["permissions"] == {"contents": "read", "pages": "write", "id-token": "write"}
    (given,) = [set(step.get("env", {})) for step in job["steps"] if "run" in step]
    assert given == set(re.findall(r'environ\.get\("(BOOK_REPOSITORY)"', (ROOT / "notebooks" / "conf.py").read_text()))
    for page in ("README.md", "notebooks/00_start_here.py"):
        text = (ROOT / page).read_text("utf-8")
        assert "make book" in text, page
        assert ".github/workflows/book.yml" in text, page


# ------------------------------------------------------------ the reading of notebooks, without Sphinx

INDEX = reading.Index(
    theorems={name: Theorem(name, "", "02_influence", "") for name in ("I1", "I2", "I10", "A6", "L1")},
    pages={"02": "02_influence", "03": "03_adaptation", "05": "05_training", "A4": "A4_adaptation"},
    sections={"02_influence": frozenset("12"), "A4_adaptation": frozenset("3")},
    works=reading._works("@book{x,\n  author = {Kent, J. and Tyler, D.},\n  year = {1991}\n}\n"),
)


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("Theorem I1 says", {"Theorem I1": "theorem-I1"}),
        ("(Theorems I1, I2 and I10)", {"I1": "theorem-I1", "I2": "theorem-I2", "I10": "theorem-I10"}),
        ("Theorem A6, appendix A4", {"Theorem A6": "theorem-A6", "appendix A4": "A4_adaptation"}),
        ("the L1 norm, Theorem Z9, appendix A9", {}),
        ("Theorems I1, I2, limited by A6", {"I1": "theorem-I1", "I2": "theorem-I2", "A6": "theorem-A6"}),
        ("checked in 02_influence, A4_adaptation; 03_nothing",
         {"A4_adaptation": "A4_adaptation", "02_influence": "02_influence"}),
        ("bounded (I1)", {"I1": "theorem-I1"}),
        ("notebook 03, Section 4", {"notebook 03": "03_adaptation"}),
        ("Notebook 02, Section 2 and notebooks 03 to 05",
         {"Notebook 02, Section 2": "section-2", "03": "03_adaptation", "05": "05_training"}),
        ("Section 1, Section 7", {"Section 1": "section-1"}),
        ("Section 3 of appendix A4", {"Section 3 of appendix A4": "section-3"}),
        ("Kent and Tyler (1991), Kent (1992)", {"Kent and Tyler (1991)": "cite-x"}),
    ],
)  # fmt: skip
def test_what_prose_names_becomes_a_link(text, targets):
    found = INDEX.links(text, "02_influence")
    assert {text[link.start : link.end]: link.fragment or link.page for link in found} == targets


def test_what_a_folded_notebook_is():
    def cell(source, kind="code", **more):
        return {"cell_type": kind, "source": source, "metadata": more, **({"outputs": []} if kind == "code" else {})}

    cells = [
        cell("import a"),
        cell("import b\n\nbegin()"),
        cell("import c", "markdown"),
        cell("import d"),
        cell("x = 1"),
    ]
    found = reading._prepared({"cells": cells})["cells"]
    assert [each["source"] for each in found] == ["import a\n\nimport b\n\nbegin()", "import c", "import d", "x = 1"]
    assert ["hide-input" in each["metadata"].get("tags", []) for each in found] == [True, False, True, False]
    assert found[0]["metadata"]["mystnb"]["code_prompt_show"] == "Show the imports"


NAMES = reading.names_of_code(
    {
        "alcl.losses": "module",
        "alcl.losses.ALCLoss": "class",
        "alcl.losses.ALCLoss.rho": "method",
        "alcl.base.Base.rho": "method",
        "alcl.influence.psi": "function",
        "alcl.experiments.location.location_estimate": "function",
        "alcl.a.twice_here": "function",
        "alcl.b.twice_here": "function",
    },
    ["ALCLoss"],
)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("ALCLoss", "alcl.losses.ALCLoss"),
        ("ALCLoss(alpha=2)", "alcl.losses.ALCLoss"),
        ("alcl.ALCLoss", "alcl.losses.ALCLoss"),
        ("losses.ALCLoss", "alcl.losses.ALCLoss"),
        ("ALCLoss.rho", "alcl.losses.ALCLoss.rho"),
        ("rho", None),
        ("rho()", None),
        ("psi", None),
        ("psi()", "alcl.influence.psi"),
        ("psi(e, 2.0)", "alcl.influence.psi"),
        ("alcl.influence.psi", "alcl.influence.psi"),
        ("location_estimate", "alcl.experiments.location.location_estimate"),
        ("twice_here", None),
        ("a.twice_here", "alcl.a.twice_here"),
        ("alcl.losses", "alcl.losses"),
        ("alcl/losses.py", "alcl.losses"),
        ("losses", None),
        ("x = ALCLoss()", None),
    ],
)
def test_what_a_piece_of_code_means(code, name):
    assert reading._name_in(code, NAMES) == name


def test_a_notebook_is_edited_as_its_source():
    def buttons(*urls):
        return [{"label": "source-edit-button", "url": url} for url in urls]

    context = {"header_buttons": [*buttons("h/x.md"), {"buttons": buttons("h/02_a.ipynb")}, {"url": "02_a.ipynb"}]}
    reading._edit_the_source(None, "", "", context, None)
    assert context["header_buttons"] == [*buttons("h/x.md"), {"buttons": buttons("h/02_a.py")}, {"url": "02_a.ipynb"}]


def test_alternative_texts_are_recorded_or_written_titles_or_the_section():
    def cell(source, **picture):
        outputs = [{"data": {"image/png": ""}, "metadata": {"image/png": picture}}]
        return {"cell_type": "code", "source": source, "outputs": outputs}

    cells = [{"cell_type": "markdown", "source": "# 02\n\n## 3 · Tails\ntext"}]
    cells += [cell("a", alt="said"), cell('ax.set(title="Panel")\nfig.suptitle(x, title="Whole")'), cell("b")]
    texts = reading.alternative_texts({"cells": cells})
    assert texts == ["said", "Whole; Panel", "Figure of the section 3 · Tails"]
    assert json.dumps(texts)


def test_docstrings_are_read_as_they_are_meant():
    lines = reading.tidy_docstring(["|e| * `x` and `Run`s, a_", "", "    f(x)", "", "Args: x: a |b|."])
    assert lines == [
        r"\|e\| \* `x` and `Run`\ s, a\_",
        "",
        ".. code-block:: python",
        "",
        "    f(x)",
        "",
        "Args:",
        r"    x: a \|b\|.",
    ]
    columns = ["Axes", "    sensor      clipped", "                or not"]
    assert reading.tidy_docstring(columns) == ["Axes", "", ".. code-block:: text", "", *columns[1:]]
