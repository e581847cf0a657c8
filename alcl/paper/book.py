"""The book's reading of the notebooks: a Sphinx extension (`notebooks/conf.py` loads it; `make book` builds).

Notebooks stay what they are; all that the book adds is found while it reads them. Theorems become targets, and every
mention of one, of a notebook, of a section or of an entry of references.bib becomes a link (`Index.links`). A theorem
names its check and its tests, and a check its theorem. Code that names a public part of the library leads to it
(`names_of_code`). Cells are folded by what they do (`alcl.paper.folds`). Figures get their titles as alternative text
(`alternative_texts`). Docstrings are turned into what Sphinx reads (`tidy_docstring`).
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .folds import CHECK, fold
from .theorems import Theorem, find_theorems, notebook_sources

__all__ = ["Index", "alternative_texts", "make_index", "names_of_code", "setup", "tidy_docstring"]

ROOT = Path(__file__).resolve().parents[2]
_ID = r"[A-Z]\d+"
_LIST = r"(?:,? (?:and|or|to) |, (?:limited by )?)"
_THEOREMS = re.compile(rf"\bTheorems? {_ID}(?:{_LIST}{_ID})*\b")
_NOTEBOOKS = re.compile(r"\b[Nn]otebooks? \d\d\b(?:,? Section (\d+)|(?:(?:,? (?:and|or|to) |, )\d\d\b)*)")
_APPENDIX = re.compile(r"\b[Aa]ppendi(?:x|ces) A\d\b(?:,? Section (\d+)|(?:(?:,? (?:and|or|to) |, )A\d\b)*)")
_NAMES = re.compile(r"\b(\d\d|A\d)_[a-z_]+\b")
_SECTION = re.compile(r"\bSections? (\d+)\b(?: of (?:appendix|notebook) (A\d|\d\d)\b)?")
#: Theorems that are named without the word. A1 to A9 are appendices too, L1 and L2 norms.
_BARE = re.compile(r"(?<![\w.])(?!A\d|L[12]\b)[A-Z]\d+\b(?![\w.]\w)")
_STATED = re.compile(rf"Theorem ({_ID})\b")


@dataclass(frozen=True)
class Link:
    """Characters `start` to `end` of a text lead to `fragment` of the page `page`."""

    start: int
    end: int
    page: str
    fragment: str = ""


@dataclass(frozen=True)
class Index:
    """What can be linked to. `pages`: "03" or "A1" -> page; `sections`: page -> numbers of its sections; `works`:
    (pattern, key) of each entry of the bibliography that a surname and a year name without doubt."""

    theorems: Mapping[str, Theorem] = field(default_factory=dict)
    pages: Mapping[str, str] = field(default_factory=dict)
    sections: Mapping[str, frozenset[str]] = field(default_factory=dict)
    works: Sequence[tuple[re.Pattern[str], str]] = ()

    def links(self, text: str, page: str) -> list[Link]:
        """Where `text`, which stands on `page`, names something that the book has; in order, none inside another."""
        found: list[Link] = []
        for match in _THEOREMS.finditer(text):
            ids = list(re.finditer(_ID, match[0]))
            for each in ids:
                start = match.start() if len(ids) == 1 else match.start() + each.start()
                found += self._theorem(each[0], start, match.start() + each.end())
        for match in _SECTION.finditer(text):
            where = self.pages.get(match[2] or "", page if match[2] is None else "")
            found += self._section(where, match[1], *match.span())
        for pattern, name in ((_NOTEBOOKS, r"\b\d\d\b"), (_APPENDIX, r"\bA\d\b")):
            for match in pattern.finditer(text):
                names = list(re.finditer(name, match[0].partition("Section")[0]))
                if match[1] and (linked := self._section(self.pages.get(names[0][0], ""), match[1], *match.span())):
                    found += linked
                    continue
                for each in names:
                    if target := self.pages.get(each[0]):
                        start = match.start() + (each.start() if len(names) > 1 else 0)
                        found.append(Link(start, match.start() + each.end(), target))
        for match in _NAMES.finditer(text):
            if self.pages.get(match[1]) == match[0]:
                found.append(Link(*match.span(), match[0]))
        for match in _BARE.finditer(text):
            found += self._theorem(match[0], *match.span())
        for pattern, key in self.works:
            found += [Link(*m.span(), "book/bibliography", f"cite-{key}") for m in pattern.finditer(text)]
        kept: list[Link] = []
        for link in sorted(found, key=lambda link: (link.start, -link.end)):
            if not kept or link.start >= kept[-1].end:
                kept.append(link)
        return kept

    def _theorem(self, name: str, start: int, end: int) -> list[Link]:
        return [Link(start, end, self.theorems[name].notebook, f"theorem-{name}")] if name in self.theorems else []

    def _section(self, page: str, number: str, start: int, end: int) -> list[Link]:
        return [Link(start, end, page, f"section-{number}")] if number in self.sections.get(page, ()) else []


def make_index(root: Path) -> Index:
    """The index of the notebooks in <root>; nothing is run."""
    sections = {}
    for path in notebook_sources(root):
        sections[path.stem] = frozenset(re.findall(r"^# ## (\d+) · ", path.read_text("utf-8"), re.MULTILINE))
    return Index(
        theorems={theorem.id: theorem for theorem in find_theorems(root)},
        pages={name.partition("_")[0]: name for name in sections},
        sections=sections,
        works=_works((root / "notebooks" / "references.bib").read_text("utf-8")),
    )


def _works(bib: str) -> list[tuple[re.Pattern[str], str]]:
    """A pattern for "Surname (year)", "Surname et al., year" and the like, for entries that it names alone."""
    found: dict[tuple[str, str], list[str]] = {}
    for entry in re.split(r"^@", bib, flags=re.MULTILINE)[1:]:
        author, year = re.search(r"author\s*= \{(.+)\}", entry), re.search(r"year\s*= \{(\d+)\}", entry)
        if author and year:
            names = author[1].split(" and ")
            surname = re.sub(r"[{}\\'\"]", "", names[0].split(",")[0])
            found.setdefault((surname, year[1]), []).append(entry.partition("{")[2].partition(",")[0])
    others = r"(?:,? (?:et al\.|(?:[A-Z][^\W\d]+(?:, | and )?|and )+))?"
    return [
        (re.compile(rf"\b{re.escape(surname)}{others},? \(?{year}\)?"), keys[0])
        for (surname, year), keys in found.items()
        if len(keys) == 1
    ]


# ------------------------------------------------------------ cells


def alternative_texts(notebook: Mapping[str, Any]) -> list[str]:
    """For every picture among a notebook's outputs, in order, what says it in words: the titles that `manifest.save`
    recorded with it; else those that its cell's source spells out; else the section that it stands in."""
    texts, section = [], ""
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            section = (re.findall(r"^#+ +(.+)$", source, re.MULTILINE) or [section])[-1]
        for output in cell.get("outputs", []):
            if "image/png" not in output.get("data", {}):
                continue
            recorded = output.get("metadata", {}).get("image/png", {}).get("alt")
            titles = re.findall(r'title\s*[=(]\s*"([^"\\]+)"', source)
            texts.append(recorded or "; ".join([*titles[-1:], *titles[:-1]]) or f"Figure of the section {section}")
    return texts


def _prepared(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook with tags that fold its machinery; two folds of imports, one after the other, are one."""
    kept: list[dict[str, Any]] = []
    last = None
    for cell in notebook["cells"]:
        what = fold(cell)
        if what == last == "the imports" and not kept[-1].get("outputs"):
            kept[-1]["source"] = "".join([*kept[-1]["source"], "\n\n", *cell["source"]])
            kept[-1]["outputs"] = cell.get("outputs", [])
            continue
        kept.append(cell)
        last = what
        if what:
            cell["metadata"]["tags"] = [*cell["metadata"].get("tags", []), "hide-input"]
            cell["metadata"]["mystnb"] = {"code_prompt_show": f"Show {what}", "code_prompt_hide": f"Hide {what}"}
    return notebook | {"cells": kept}


# ------------------------------------------------------------ docstrings

_SECTION_NAMES = "Args|Attributes|Example|Examples|Note|Notes|Raises|Returns|Yields"


def tidy_docstring(lines: Sequence[str]) -> list[str]:
    """A docstring's lines as reStructuredText that Sphinx's napoleon reads.

    Docstrings are written to be read as they are: `|e|` is a modulus there and no substitution, an indented block is
    code or a formula, "Args: x: ..." may begin on the line of its name.
    """
    out: list[str] = []
    inside = code = False
    for line in lines:
        bare = line.strip()
        indent = len(line) - len(line.lstrip())
        if bare and indent == 0:
            inside = code = False
        if head := re.match(rf"({_SECTION_NAMES}):(?:\s+(\S.*))?$", line):
            inside = True
            if out and out[-1].strip():
                out.append("")
            out.append(f"{head[1]}:")
            if head[2]:
                out.append("    " + _escaped(head[2]))
            continue
        example = bare.startswith(">>>")
        opens = indent >= 4 and not inside and not code and (not out or not out[-1].strip())
        if bare and opens and not example and not (out and out[-2:-1] and out[-2].rstrip().endswith("::")):
            out += [".. code-block:: python", ""]
            code = True
        if bare and opens and out[-2:-1] and out[-2].rstrip().endswith("::"):
            code = True
        table = indent >= 4 and not inside and not code and re.search(r"\S {2,}\S", line)
        if table and out and out[-1].strip() and not re.match(r"\s|[-*] ", out[-1]):
            out += ["", ".. code-block:: text", ""]  # columns, under the line that says of what
            code = True
        out.append(line if code or example else _escaped(line))
    return out


def _escaped(line: str) -> str:
    """A line in which modulus bars, stars and trailing underscores mean themselves, outside of `code`."""
    parts = re.split(r"(``.*?``|:\w+:`[^`]*`|`[^`]*`)", line)
    item = re.match(r"\s*\* ", line)
    for i in range(0, len(parts), 2):
        text = parts[i]
        lead = item[0] if item and i == 0 else ""
        text = re.sub(r"([|*])", r"\\\1", text[len(lead) :])
        text = re.sub(r"(?<=\w)_(?!\w)", r"\\_", text)
        text = re.sub(r"\$[A-Z_]+\b", r"``\g<0>``", text)  # a variable of the environment, and no formula
        parts[i] = lead + ("\\ " if i and text[:1].isalpha() else "") + text  # `Run`s: markup ends before a letter
    return "".join(parts)


# ------------------------------------------------------------ the library's names


def names_of_code(objects: Mapping[str, str], exported: Sequence[str] = ()) -> dict[str, str]:
    """{what a piece of code may say: the dotted name that it means}, without what could mean two things.

    objects: dotted name -> its kind, as Sphinx says it ("class", "function", "method", "module" and others). exported:
    names that `alcl` itself has. A name may be cut at any dot, but a word alone must be a class's or have an underscore
    or call brackets: `psi` in a sentence is a symbol, `psi()` a function. A module may be given as its file.
    """
    meant: dict[str, set[str]] = {}
    for name, kind in objects.items():
        parts = name.split(".")
        cuts = {".".join(parts[i:]) for i in range(len(parts) - 1)}
        if kind == "module":
            cuts = {name, name.replace(".", "/") + ".py"}
        elif kind in ("class", "exception", "function"):
            cuts.add(f"{parts[-1]}()")
            if kind != "function" or "_" in parts[-1].strip("_"):
                cuts.add(parts[-1])
            if parts[-1] in exported:
                cuts.add(f"alcl.{parts[-1]}")
        for cut in cuts:
            meant.setdefault(cut, set()).add(name)
    return {cut: names.pop() for cut, names in meant.items() if len(names) == 1}


def _name_in(code: str, names: Mapping[str, str]) -> str | None:
    """The dotted name that a piece of code means: `ALCLoss(alpha=2)` is the class, with or without its arguments."""
    bare = re.sub(r"\(.*\)$", "", code.strip(), flags=re.DOTALL)
    return names.get(bare) or (names.get(f"{bare}()") if bare != code.strip() else None)


# ------------------------------------------------------------ pages that are read from elsewhere


def _module_links(text: str, up: str = "") -> str:
    """Links to files of the package lead to the pages of the library, by names that fit a table; those to README.md to
    the front page."""

    def page(match: re.Match[str]) -> str:
        parts = match[1].split("/")
        return f"]({up}book/alcl.{parts[0]}.md)"

    text = re.sub(r"\[`alcl/(?:\w+/)*(\w+\.py)`\](?=\(\.\./alcl/)", r"[`\1`]", text)
    text = re.sub(r"\]\(\.\./alcl/([\w/]+)\.py\)", page, text)
    return text.replace("](../README.md)", f"]({up}index.md)")


def _readme_part(name: str) -> str:
    text = (ROOT / "README.md").read_text("utf-8")
    part = text.partition(f"<!-- {name}:begin -->")[2].partition(f"<!-- {name}:end -->")[0]
    return part.replace("](notebooks/", "](").strip()


def _tests_of(theorems: Sequence[Theorem]) -> str:
    """The theorems, a row each, and under the table the source of every test that guards one."""
    rows, listings = ["| | theorem | stands in | guarded by |", "|---|---|---|---|"], []
    sources = {path.name: path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    functions = {
        (name, node.name): "\n".join(text.splitlines()[_first_line(node) - 1 : node.end_lineno])
        for name, text in sources.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef)
    }
    for theorem in theorems:
        title = theorem.title.replace("|", "\\|")
        tests = [guard.partition("::")[::2] for guard in theorem.guards]
        links = ", ".join(f"[{_spoken(name)}](#{_test_id(name)})" for _, name in tests)
        rows.append(f"| Theorem {theorem.id} | {title} | [{theorem.notebook}]({theorem.notebook}.ipynb) | {links} |")
        for file, name in tests:
            code = functions[file, name]
            listings.append(f"({_test_id(name)})=\n**{name}**, in `{file}`:\n\n```python\n{code}\n```\n")
    return "\n".join(rows).replace("](0", "](../0").replace("](1", "](../1").replace("](A", "](../A") + (
        "\n\n## The tests\n\nMore tests guard the library; these carry a theorem's name.\n\n" + "\n".join(listings)
    )


def _modules(wing: str) -> str:
    """A section for every module of a wing of the package."""
    names = [f"alcl.{wing}.{path.stem}" for path in sorted((ROOT / "alcl" / wing).glob("[!_]*.py"))]
    return "\n".join(f"## {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n```\n" for name in names)


def _first_line(node: ast.FunctionDef) -> int:
    return min([node.lineno, *(each.lineno for each in node.decorator_list)])


def _spoken(name: str) -> str:
    """A test's name as words, which a table can break: test_I2_rate_of_the_return is "rate of the return"."""
    return re.sub(rf"^test_(?:{_ID}_)*", "", name).replace("_", " ")


def _test_id(name: str) -> str:
    return name.lower().replace("_", "-")


# ------------------------------------------------------------ Sphinx


def setup(app: Any) -> dict[str, Any]:
    """Called by Sphinx."""
    app.alcl_index = make_index(ROOT)
    app.connect("source-read", _read)
    app.connect("doctree-read", _mark)
    app.connect("doctree-resolved", _link)
    app.connect("html-page-context", _edit_the_source, priority=900)  # after the theme has made its buttons
    app.connect("autodoc-process-docstring", _docstring, priority=400)  # before napoleon
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _edit_the_source(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """A notebook is edited as its .py; the .ipynb is made from it."""
    for each in context.get("header_buttons", []):
        for button in each.get("buttons", [each]):
            if button.get("label") == "source-edit-button":
                button["url"] = re.sub(r"\.ipynb$", ".py", button["url"])


def _docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = tidy_docstring(lines)


def _read(app: Any, page: str, content: list[str]) -> None:
    path = str(app.env.doc2path(page))
    if path.endswith(".ipynb"):
        notebook = _prepared(json.loads(content[0]))
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown":
                cell["source"] = _module_links("".join(cell["source"]))
            for output in cell.get("outputs", []):
                if "text/markdown" in output.get("data", {}):
                    output["data"]["text/markdown"] = _module_links("".join(output["data"]["text/markdown"]))
        content[0] = json.dumps(notebook)
        return
    text = _module_links(content[0], "../" if "/" in page else "")
    text = re.sub(r"<!-- readme: (\w+) -->", lambda match: _readme_part(match[1]), text)
    text = re.sub(r"<!-- modules: alcl\.(\w+) -->", lambda match: _modules(match[1]), text)
    if "<!-- theorems -->" in text:
        text = text.replace("<!-- theorems -->", _tests_of(list(app.alcl_index.theorems.values())))
    if page == "costs":
        table = (ROOT / "paper_figures" / "table11_speed.md").read_text("utf-8")
        text = text.replace("](../paper_figures/table11_speed.md)", "](#all-shapes-and-sizes)")
        text += f"\n## All shapes and sizes\n\n{table}\n"
    content[0] = text


def _mark(app: Any, doctree: Any) -> None:
    """Targets: theorems, numbered sections, checks; alternative texts."""
    from docutils import nodes

    page = app.env.current_document.docname
    if page not in app.alcl_index.sections:
        return
    own = {name: theorem for name, theorem in app.alcl_index.theorems.items() if theorem.notebook == page}
    checked: dict[str, Any] = {}
    for cell in [node for node in doctree.findall(nodes.container) if node.get("nb_element") == "cell_code"]:
        names = [
            name
            for block in cell.findall(nodes.literal_block)
            for line in CHECK.findall(block.astext())
            for name in re.findall(rf"\b{_ID}\b", line)
        ]
        cell["ids"] += [f"check-{name}" for name in names]
        checked |= dict.fromkeys(names, cell)
        if names:
            cell.parent.insert(cell.parent.index(cell), _line(nodes, "Check of Theorem" + "s" * (len(names) > 1) + " "
                                                              + ", ".join(names) + ":"))  # fmt: skip
    for section in doctree.findall(nodes.section):
        if number := re.match(r"(\d+) · ", section[0].astext()):
            section["ids"].append(f"section-{number[1]}")
    for node in [*doctree.findall(nodes.strong), *doctree.findall(nodes.title)]:
        match = _STATED.match(node.astext())
        if not match or match[1] not in own:
            continue
        theorem = own.pop(match[1])
        target = node.parent if isinstance(node, nodes.title) else node
        target["ids"].append(f"theorem-{theorem.id}")
        line = _line(nodes, "")
        if theorem.id in checked:
            line += _reference(nodes, "executed check", f"#check-{theorem.id}")
        for number, guard in enumerate(theorem.guards):
            name = guard.partition("::")[2]
            line += nodes.Text(" · " if len(line) else "")
            text = "test" if len(theorem.guards) == 1 else f"test {number + 1}"
            uri = app.builder.get_relative_uri(page, "book/theorems") + f"#{_test_id(name)}"
            line += _reference(nodes, text, uri, name)
        block = node if isinstance(node, nodes.title) else node.parent
        block.parent.insert(block.parent.index(block) + 1, line)
    texts = alternative_texts(json.loads(Path(app.env.doc2path(page)).read_text("utf-8")))
    pictures = [
        image
        for output in doctree.findall(nodes.container)
        if output.get("nb_element") == "cell_code_output"
        for image in output.findall(nodes.image)
    ]
    for image, text in zip(pictures, texts, strict=True):
        image["alt"] = text


def _line(nodes: Any, text: str) -> Any:
    return nodes.paragraph("", text, classes=["alcl-links"])


def _reference(nodes: Any, text: str, uri: str, title: str = "") -> Any:
    return nodes.reference("", text, internal=True, refuri=uri, **({"reftitle": title} if title else {}))


def _link(app: Any, doctree: Any, page: str) -> None:
    """Links wherever prose, docstrings, tables and displayed tables name what the book has."""
    from docutils import nodes

    index: Index = app.alcl_index
    closed = (nodes.reference, nodes.literal, nodes.literal_block, nodes.title, nodes.math, nodes.math_block,
              nodes.raw, nodes.FixedTextElement, nodes.citation)  # fmt: skip

    def uri(link: Link) -> str:
        base = app.builder.get_relative_uri(page, link.page) if link.page != page else ""
        return base + (f"#{link.fragment}" if link.fragment else "") or "#"

    def is_itself(link: Link, node: Any) -> bool:
        return link.fragment in node.parent.get("ids", ()) or (link.page == page and not link.fragment)

    for node in list(doctree.findall(nodes.Text)):
        parent, inside = node.parent, False
        while parent is not None and not inside:
            inside, parent = isinstance(parent, closed) or parent.get("nb_element") == "cell_code_source", parent.parent
        if inside:
            continue
        text = node.astext()
        links = [link for link in index.links(text, page) if not is_itself(link, node)]
        if not links:
            continue
        new, last = [], 0
        for link in links:
            new += [nodes.Text(text[last : link.start]), _reference(nodes, text[link.start : link.end], uri(link))]
            last = link.end
        new.append(nodes.Text(text[last:]))
        node.parent.replace(node, [each for each in new if each.astext()])
    import alcl

    objects = app.env.get_domain("py").objects
    names = names_of_code({name: each.objtype for name, each in objects.items()}, alcl.__all__)
    guards = {guard.partition("::")[2] for theorem in index.theorems.values() for guard in theorem.guards}
    for node in list(doctree.findall(nodes.literal)):
        parent = node.parent
        while parent is not None and not isinstance(parent, nodes.reference | nodes.title):
            parent = parent.parent
        if parent is not None:
            continue
        reference = None
        if name := _name_in(node.astext(), names):
            base = app.builder.get_relative_uri(page, objects[name].docname)
            reference = _reference(nodes, "", f"{base}#{objects[name].node_id}", name)
        elif (test := node.astext().rpartition("::")[2]) in guards:
            base = app.builder.get_relative_uri(page, "book/theorems")
            reference = _reference(nodes, "", f"{base}#{_test_id(test)}")
        if reference is not None:
            node.parent.replace(node, reference)
            reference += node
    for node in doctree.findall(nodes.raw):
        if node.get("format") == "html" and "<table" in node.astext():
            html = re.sub(r"<th></th>", "<td></td>", node.astext())
            # Alone in a cell, L1 may be a norm and A2 an appendix, but not in a table of theorems.
            bare = index.theorems if re.search(r"<th>(id|theorem)</th>", html) else {}

            def linked(match: re.Match[str], bare: Mapping[str, Theorem] = bare) -> str:
                text, out, last = match[0], [], 0
                known = index.theorems[text].notebook if text in bare else None
                own = [Link(0, len(text), known, f"theorem-{text}")] if known else index.links(text, page)
                for link in own:
                    out += [text[last : link.start], f'<a href="{uri(link)}">{text[link.start : link.end]}</a>']
                    last = link.end
                return "".join([*out, text[last:]])

            style = r"<style.*?</style>|"
            html = re.sub(
                style + r"(?<=>)[^<]+(?=<)", lambda m: m[0] if m[0][0] == "<" else linked(m), html, flags=re.S
            )
            node.children, node.rawsource = [nodes.Text(html)], html
