"""Gates over the committed notebooks, each shown able to fail, and the tool that executes them."""

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from jupytext.cli import jupytext as run_jupytext

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "notebooks"


def sources(folder):
    """Sources of the notebooks: NN_*.py, then the appendices A1_*.py and so on."""
    return sorted([*folder.glob("[0-9][0-9]_*.py"), *folder.glob("A[0-9]_*.py")])


SOURCES = sources(FOLDER)
EXECUTED = sorted(FOLDER.glob("*.ipynb"))
stems = {"ids": lambda path: path.stem}

# ------------------------------------------------------------ the gates: each returns what is wrong, as text


def unpaired(folder):
    """Notebooks of which the source or the executed file is missing."""
    executed = {path.stem for path in folder.glob("*.ipynb")}
    return [f"{name}: only one of .py and .ipynb" for name in sorted({p.stem for p in sources(folder)} ^ executed)]


def out_of_sync(source, folder):
    """Whether jupytext, run on a copy of the pair in `folder`, would change the .ipynb; mtimes do not count."""
    for suffix in (".py", ".ipynb"):
        shutil.copy(source.with_suffix(suffix), folder)
    run_jupytext(["--quiet", "--to", "ipynb", "--update", str(folder / source.name)])
    same = (folder / source.name).with_suffix(".ipynb").read_bytes() == source.with_suffix(".ipynb").read_bytes()
    return [] if same else [f"{source.stem}: the .ipynb is not what jupytext makes of the .py"]


def unexecuted(path):
    """Code cells that were not run from first to last in one go, or that ended in an error."""
    problems = []
    cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    for number, cell in enumerate(cells, start=1):
        if cell.execution_count != number:
            problems.append(f"code cell {number}: execution count {cell.execution_count}")
        if any(output.output_type == "error" for output in cell.outputs):
            problems.append(f"code cell {number}: ended in an error")
    return problems


def volatile(path):
    """Outputs and metadata that belong to one run or one machine."""
    notebook = nbformat.read(path, 4)
    problems = [f"metadata: {key}" for key in ("papermill", "widgets") if key in notebook.metadata]
    for number, cell in enumerate(notebook.cells, start=1):
        problems += [f"cell {number}: metadata {key}" for key in ("papermill", "execution") if key in cell.metadata]
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            problems += [f"cell {number}: output {kind}" for kind in data if "widget" in kind]
            text = "\n".join([output.get("text", ""), data.get("text/plain", ""), data.get("text/html", "")])
            found = re.search(r"0x[0-9a-f]{6,}|(/home|/root|/Users|/tmp|/work|/var|/opt|/mnt)/\S+|site-packages", text)
            if found:
                problems.append(f"cell {number}: output holds {found[0]!r}")
    return problems


def header_gaps(path):
    """What is missing above the first code cell: a title, and what the reader will do, learn and need."""
    cells = nbformat.read(path, 4).cells
    first_code = next((i for i, cell in enumerate(cells) if cell.cell_type == "code"), len(cells))
    header = "\n".join(cell.source for cell in cells[:first_code])
    wanted = {
        "title": r"\A# \S",
        "do": r"you('ll| will) do",
        "learn": r"you('ll| will) learn",
        "need": r"you('ll| will)? need",
    }
    return [name for name, pattern in wanted.items() if not re.search(pattern, header, re.IGNORECASE)]


def long_cells(path, limit=20):
    """Code cells of more than `limit` lines."""
    cells = nbformat.read(path, 4).cells
    lengths = {i: cell.source.count("\n") + 1 for i, cell in enumerate(cells, start=1) if cell.cell_type == "code"}
    return [f"cell {i}: {length} lines" for i, length in lengths.items() if length > limit]


def empty_phrases(path):
    """Words that stand where a reason should."""
    words = " ".join(word for word in path.read_text("utf-8").split() if word != "#")
    return re.findall(r"it can be shown|clearly,|obviously|it is easy to see|left to the reader", words, re.IGNORECASE)


#: A number that a reader takes for a result: with a decimal point, or before a unit of what is measured here.
NUMBER = re.compile(
    r"(?<![\w.,:/-])(\d[\d,]*\.\d+|\d+(?=\s*(?:%|percent|dB|points|times|seconds|minutes)))(?![\w]|\.\d)"
)
#: Numbers that no cell prints because a definition fixes them: notebook -> number -> where it is defined.
DEFINED = {"06_benchmark": {"95": "alcl.experiments.analysis: the level of every interval"}}


def unproduced(path):
    """Numbers in the prose of a notebook that stand in no output and no code of it.

    The convention: a result is quoted as a cell prints it. Not prose are formulas, `code`, headings, tables, quotations
    and boxes (blockquotes), links, and the numbers of somebody's theorems. A percentage may be printed as a fraction.
    """
    cells, produced = nbformat.read(path, 4).cells, set()
    for cell in cells:
        if cell.cell_type == "code":
            data = [output.get("data", {}) for output in cell.outputs]
            texts = [cell.source, *(output.get("text", "") for output in cell.outputs)]
            texts += [entry.get(kind, "") for entry in data for kind in ("text/plain", "text/html", "text/markdown")]
            produced |= {
                float(number) for text in texts for number in re.findall(r"\d+(?:\.\d+)?", text.replace(",", ""))
            }
    problems = []
    for number, cell in enumerate(cells, start=1):
        if cell.cell_type != "markdown":
            continue
        prose = re.sub(r"```.*?```", " ", cell.source, flags=re.DOTALL)
        prose = "\n".join(line for line in prose.splitlines() if not line.lstrip().startswith((">", "#", "|")))
        prose = re.sub(r"\$\$.*?\$\$|\$[^$]*\$|`[^`]*`|\]\([^)]*\)", " ", prose, flags=re.DOTALL)
        prose = re.sub(r"(Theorem|Lemma|Section|Chapter|Corollary|Equation)s?\s+\d+(\.\d+)*", " ", prose)
        for found in NUMBER.finditer(prose):
            value = float(found[1].replace(",", ""))
            known = produced | {float(n) for n in DEFINED.get(path.stem, {})}
            if value not in known and round(value / 100, 10) not in known:
                problems.append(f"cell {number}: no cell produced {found[0]}")
    return problems


def broken_math(path):
    """Lines inside $...$ or $$...$$ that Markdown takes for the item of a list: the formula then shows as raw LaTeX."""
    problems = []
    for number, cell in enumerate(nbformat.read(path, 4).cells, start=1):
        if cell.cell_type != "markdown":
            continue
        text = re.sub(r"```.*?```|`[^`\n]*`", " ", cell.source, flags=re.DOTALL)
        for formula in re.findall(r"\$\$.*?\$\$|\$[^$]+\$", text, flags=re.DOTALL):
            lines = [re.sub(r"^> ?", "", line) for line in formula.splitlines()[1:]]
            problems += [f"cell {number}: {line!r}" for line in lines if re.match(r"([-+*]|\d+[.)])\s", line.lstrip())]
    return problems


def saved_names(source):
    """Patterns of the names under which a notebook's source saves figures and tables; None for one not written out.

    A name may be an f-string: what stands in braces matches letters, digits and underscores.
    """
    patterns = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        if getattr(node.func, "id", None) != "save":  # what `begin` returned
            continue
        given = [keyword.value for keyword in node.keywords if keyword.arg == "name"]
        name = node.args[1] if len(node.args) > 1 else given[0]
        for either in (name.body, name.orelse) if isinstance(name, ast.IfExp) else (name,):
            if isinstance(either, ast.Constant):
                patterns.append(re.escape(either.value))
            elif isinstance(either, ast.JoinedStr):
                parts = [re.escape(p.value) if isinstance(p, ast.Constant) else "[a-z0-9_]+" for p in either.values]
                patterns.append("".join(parts))
            else:
                patterns.append(None)
    return patterns


def unlisted(path, manifest):
    """Figures and tables that a notebook saves and the manifest does not have from it."""
    have = [name for name, entry in manifest.items() if entry["notebook"] == path.stem]
    problems = []
    for pattern in saved_names(path.read_text("utf-8")):
        if pattern is None:
            problems.append("a figure's name is not written out")
        elif not any(re.fullmatch(pattern, name) for name in have):
            problems.append(f"not in the manifest: {pattern}")
    return problems


def relative_paths(source):
    """Paths that mean another file where papermill, or a reader, starts the notebook from another folder."""
    tree = ast.parse(source)
    problems = []
    for node in ast.walk(tree):
        loose = isinstance(node, ast.Constant) and re.match(r"\.\.?/|\.\.$", str(node.value))
        if isinstance(node, ast.Call):
            first = str(getattr(node.args[0], "value", "/")) if node.args else ""  # what is no constant is trusted
            opened = getattr(node.func, "id", None) in ("Path", "open")
            loose = (first == "." and len(node.args) == 1) or (opened and not first.startswith("/"))
        if loose:
            problems.append(f"line {node.lineno}: {ast.unparse(node)} depends on the working directory")
    return problems


def assigned(nodes):
    """Names that statements assign, outside functions and comprehensions, which have names of their own."""
    names, waiting = set(), list(nodes)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.Lambda, ast.ClassDef)):
            continue
        if isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        waiting += ast.iter_child_nodes(node)
    return names


def loose_parameters(path):
    """What keeps `alcl.paper.parameters` from telling whether a notebook runs with the parameters of its source."""
    source = path.read_text("utf-8")
    before, tag, after = source.partition('# %% tags=["parameters"]\n')
    if not tag:
        return []
    cell, _, after = after.partition("\n# %%")
    names, problems = assigned(ast.parse(cell).body), []
    for statement in ast.parse(cell).body:
        try:
            ast.literal_eval(statement.value)
        except ValueError:
            problems.append(f"{ast.unparse(statement)}: not a literal")
    again = names & assigned(ast.parse(before + "\n# %%" + after).body)
    problems += [f"{name}: assigned again outside its cell" for name in sorted(again)]
    checked = re.search(r'^save = begin\("\w+", (\[.*?\])', source, re.DOTALL | re.MULTILINE)
    if not checked or sorted(ast.literal_eval(checked[1])) != sorted(names):
        problems.append("begin: not the names of the cell")
    return problems


def code_cells(source):
    """(tags, source) of every code cell of a notebook's percent script."""
    _, *cells = re.split(r"^# %%(.*)\n", source, flags=re.MULTILINE)
    pairs = zip(cells[::2], cells[1::2], strict=True)
    return [(re.findall(r'"([^"]+)"', head), text) for head, text in pairs if "[markdown]" not in head]


def untidy_opening(path):
    """What is wrong with a notebook's first code cells: its parameters, if any, then imports and `begin`, folded."""
    cells = code_cells(path.read_text("utf-8"))
    if "parameters" in cells[0][0]:
        cells = cells[1:]
    problems, opened = [], False
    for tags, text in cells:
        body = ast.parse(text).body
        if not opened and "hide-input" not in tags:
            problems.append(f"not tagged hide-input: {ast.unparse(body[0])}")
        begun = re.search(r'^save = begin\("(\w+)"', text, re.MULTILINE)
        if begun and begun[1] != path.stem:
            problems.append(f"begin: {begun[1]} is not this notebook")
        opened = opened or bool(begun)
        if not opened and not all(isinstance(statement, (ast.Import, ast.ImportFrom)) for statement in body):
            return [*problems, "begin: not called after the first imports"]
    return problems if opened else [*problems, "begin: not called"]


def needless_silence(path):
    """`_ = ...` where nothing would be echoed: of a cell, Jupyter echoes the last statement, if it is not indented."""
    found = []
    for _, text in code_cells(path.read_text("utf-8")):
        tree = ast.parse(text)
        for node in ast.walk(tree):
            line = ast.unparse(node) if isinstance(node, ast.Assign) else ""
            if line.startswith("_ = ") and (node is not tree.body[-1] or line.startswith("_ = save(")):
                found.append(line)
    return found


def needs_more_imports(sources):
    """Names like torch.nn.utils of which the notebooks' own `import torch` does not bring all parts.

    A kernel of `make figures` has imported what all notebooks import, and would not show it; a reader's has not.
    """
    used = {}
    for source in sources:
        nodes = list(ast.walk(ast.parse(source)))
        plain = {ast.unparse(node): node.names for node in nodes if isinstance(node, ast.Import)}
        names = {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)}
        for statement, aliases in plain.items():
            known = {alias.asname or alias.name.partition(".")[0] for alias in aliases}
            found = {name for name in names if name.partition(".")[0] in known and re.fullmatch(r"[\w.]+", name)}
            used.setdefault(statement, set()).update(found)
    order = sorted(used, key=lambda statement: "alcl" in statement)  # which imports others
    script = (
        "import json, sys\nfor statement, names in json.load(sys.stdin):\n    here = {}\n    exec(statement, here)\n"
    )
    script += "    for name in names:\n        try: eval(name, here)\n        except AttributeError: print(name)\n"
    command, given = [sys.executable, "-c", script], json.dumps([(each, sorted(used[each])) for each in order])
    return subprocess.run(command, input=given, capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()


# ------------------------------------------------------------ over the committed notebooks


def test_a_kernel_of_its_own_has_all_that_a_notebook_uses():
    assert needs_more_imports([path.read_text("utf-8") for path in SOURCES]) == []


def test_notebooks_are_numbered_without_gaps():
    names = [path.name[:2] for path in SOURCES]
    appendices = [name for name in names if name.startswith("A")]
    assert names[: len(names) - len(appendices)] == [f"{i:02d}" for i in range(len(names) - len(appendices))]
    assert appendices == [f"A{i}" for i in range(1, len(appendices) + 1)]
    assert SOURCES


def test_every_notebook_is_a_pair():
    assert unpaired(FOLDER) == []


@pytest.mark.parametrize("path", EXECUTED, **stems)
class TestExecuted:
    def test_is_in_sync_with_its_source(self, path, tmp_path):
        assert out_of_sync(path.with_suffix(".py"), tmp_path) == []

    def test_was_run_from_first_cell_to_last_without_error(self, path):
        assert unexecuted(path) == []

    def test_holds_nothing_of_one_run_or_machine(self, path):
        assert volatile(path) == []

    def test_says_what_the_reader_will_do_learn_and_need(self, path):
        assert header_gaps(path) == []

    def test_numbers_in_prose_come_from_cells(self, path):
        assert unproduced(path) == []

    def test_no_formula_is_cut_by_a_list(self, path):
        assert broken_math(path) == []

    def test_has_no_long_cell(self, path):
        assert long_cells(path) == []


@pytest.mark.parametrize("path", SOURCES, **stems)
class TestSource:
    def test_gives_reasons_not_phrases(self, path):
        assert empty_phrases(path) == []

    def test_finds_its_files_from_any_folder(self, path):
        assert relative_paths(path.read_text("utf-8")) == []

    def test_parameters_are_what_they_seem(self, path):
        assert loose_parameters(path) == []

    def test_begins_in_one_call_that_the_book_can_fold(self, path):
        assert untidy_opening(path) == []

    def test_silences_only_what_would_be_echoed(self, path):
        assert needless_silence(path) == []

    def test_figures_are_in_the_manifest(self, path):
        manifest = ROOT / "paper_figures" / "manifest.json"
        manifest = json.loads(manifest.read_text("utf-8")) if manifest.exists() else {}
        assert unlisted(path, manifest) == []


# ------------------------------------------------------------ each gate can fail

HEADER = """# ---
# jupyter:
#   jupytext:
#     notebook_metadata_filter: kernelspec,jupytext,-jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Title
#
# What you will do, what you will learn, what you need.

"""
GOOD = HEADER + '# %% tags=["parameters"]\nseeds = 2\n\n# %%\nimport os\n\nprint("seeds", seeds)\nprint(os.getcwd())\n'


def write(path, cells, **metadata):
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)
    return path


def code(source="1", count=1, **more):
    return nbformat.v4.new_code_cell(source, execution_count=count, **more)


def printed(text):
    return [nbformat.v4.new_output("stream", text=text)]


def test_gate_pairs(tmp_path):
    (tmp_path / "01_a.py").touch()
    (tmp_path / "A2_b.ipynb").touch()
    assert unpaired(tmp_path) == ["01_a: only one of .py and .ipynb", "A2_b: only one of .py and .ipynb"]
    (tmp_path / "01_a.ipynb").touch()
    (tmp_path / "A2_b.py").touch()
    assert unpaired(tmp_path) == []


@pytest.mark.parametrize(
    "change", [("seeds = 2", "seeds = 3"), ("# Title", "# Other"), ("\n# %%\n", "\n# %%\n1\n\n# %%\n")]
)
def test_gate_sync(tmp_path, change):
    source, copy = tmp_path / "01_a.py", tmp_path / "copy"
    copy.mkdir()
    source.write_text(GOOD)
    run_jupytext(["--quiet", "--to", "ipynb", str(source)])
    assert out_of_sync(source, copy) == []
    source.write_text(GOOD.replace(*change))
    os.utime(source, (0, 0))  # the source looks older; that must not hide the change
    assert out_of_sync(source, copy) == ["01_a: the .ipynb is not what jupytext makes of the .py"]


def test_gate_execution(tmp_path):
    error = [nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=[])]
    path = tmp_path / "01_a.ipynb"
    assert unexecuted(write(path, [nbformat.v4.new_markdown_cell("# a"), code(), code(count=2)])) == []
    assert unexecuted(write(path, [code(count=None)])) == ["code cell 1: execution count None"]
    assert len(unexecuted(write(path, [code(count=2), code(count=1)]))) == 2
    assert unexecuted(write(path, [code(outputs=error)])) == ["code cell 1: ended in an error"]


@pytest.mark.parametrize("text", ["<Axes at 0x7f3a52c0>", "in /home/ann/alcl/losses.py:3", "x/site-packages/torch"])
def test_gate_volatile(tmp_path, text):
    path = tmp_path / "01_a.ipynb"
    assert volatile(write(path, [code(outputs=printed("a/b and 0x1f, 3/home"))])) == []
    assert len(volatile(write(path, [code(outputs=printed(text))]))) == 1
    shown = [nbformat.v4.new_output("execute_result", {"text/plain": text})]
    assert len(volatile(write(path, [code(outputs=shown)]))) == 1
    assert volatile(write(path, [code(metadata={"execution": {}})], papermill={})) == [
        "metadata: papermill",
        "cell 1: metadata execution",
    ]


def test_gate_header(tmp_path):
    path, text = tmp_path / "01_a.ipynb", "# T\n\nWhat you'll do, what you will learn, what you need"
    assert header_gaps(write(path, [nbformat.v4.new_markdown_cell(text), code()])) == []
    assert header_gaps(write(path, [code(), nbformat.v4.new_markdown_cell(text)])) == ["title", "do", "learn", "need"]
    assert header_gaps(write(path, [nbformat.v4.new_markdown_cell(text.replace("learn", "see"))])) == ["learn"]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('records = "../paper_figures/records"', True),
        ('index(".")', True),
        ('x = f"./{name}"', True),
        ('Path("00_start.py").read_text()', True),
        ('open("record")', True),
        ("Path()", True),
        ('Path("/tmp") / Path(folder) / "a/b"', False),
        ('"..." + ".2f" + "a/../b"', False),
    ],
)
def test_gate_relative_paths(line, found):
    assert len(relative_paths(line)) == found


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("", ""), None),
        (("a = 1", "a = 2 - 1"), "a = 2 - 1: not a literal"),
        (("print(a)", "a = 3"), "a: assigned again outside its cell"),
        (("print(a)", "for b in (1, 2):\n    print(b)"), "b: assigned again outside its cell"),
        (("print(a)", "def f(a):\n    b = [a for a in ()]\n\n\nx = [a for a in ()]"), None),
        (('["a", "b"]', '["a"]'), "begin: not the names of the cell"),
        ((', ["a", "b"]', ""), "begin: not the names of the cell"),
        ((', ["a", "b"]', ', ["b", "a"], dtype=torch.float64'), None),
    ],
)
def test_gate_parameters(tmp_path, change, problem):
    path = tmp_path / "01_a.py"
    path.write_text(
        '# %% tags=["parameters"]\na = 1\nb = None\n\n# %%\nsave = begin("01_a", ["a", "b"])\nprint(a)\n'.replace(
            *change
        )
    )
    assert loose_parameters(path) == ([] if problem is None else [problem])


def test_gate_long_cells(tmp_path):
    path = tmp_path / "01_a.ipynb"
    assert long_cells(write(path, [code("\n".join("1" * 20)), nbformat.v4.new_markdown_cell("\n" * 40)])) == []
    assert long_cells(write(path, [code(), code("\n".join("1" * 21))])) == ["cell 2: 21 lines"]


@pytest.mark.parametrize(
    ("prose", "problem"),
    [
        ("It reaches 31.7 dB.", "31.7"),
        ("It loses 12 % of them.", "12"),
        ("It took 3 times as long.", "3"),
        ("It reaches 25.50 dB, or 1,234.5 in all; 7% and 40 percent.", None),
        ("By Theorem 5.21 and Lemma 7.6, $x = 31.7$, `31.7`.\n> 31.7 dB\n\n## 31.7 dB\n| 31.7 |", None),
        ("Version 3 of 12 images, notebook 01, [x](a/31.7).", None),
    ],
)
def test_gate_prose_numbers(tmp_path, prose, problem):
    cells = [code("x = 0.4", outputs=printed("psnr 25.5, 1234.5, 0.07")), nbformat.v4.new_markdown_cell(prose)]
    found = unproduced(write(tmp_path / "01_x.ipynb", cells))
    assert found == ([] if problem is None else [f"cell 2: no cell produced {problem}"])


@pytest.mark.parametrize(
    ("prose", "problems"),
    [
        ("So $a\n- b$ is", ["cell 2: '- b$'"]),
        ("> so $a =\n> 1. $", ["cell 2: '1. $'"]),
        ("$$ a\n   + b $$", ["cell 2: '   + b $$'"]),
        ("So $a$\n- b, $c\n-d$; `x $`\n- $e$ and\n\n- $f - g$", []),
    ],
)
def test_gate_math(tmp_path, prose, problems):
    cells = [code("'$x\n- y$'"), nbformat.v4.new_markdown_cell(prose)]
    assert broken_math(write(tmp_path / "01_x.ipynb", cells)) == problems


@pytest.mark.parametrize("text", ["# Obviously so", "# and it can\n# be shown that", "x = 1  # clearly, one"])
def test_gate_phrases(tmp_path, text):
    path = tmp_path / "01_a.py"
    path.write_text("# It is shown clearly below\n")
    assert empty_phrases(path) == []
    path.write_text(text)
    assert len(empty_phrases(path)) == 1


OPENING = (
    '# %% tags=["parameters"]\na = 1\n\n# %% tags=["hide-input"]\nimport x\n\nsave = begin("01_a", ["a"])\n\n# %%\n1\n'
)


@pytest.mark.parametrize(
    ("change", "problems"),
    [
        (("", ""), []),
        (('# %% tags=["parameters"]\na = 1\n\n', ""), []),
        (("import x\n", 'import x\n\n# %% [markdown]\n# m\n\n# %% tags=["hide-input"]\nfrom x import y\n'), []),
        (('tags=["hide-input"]', ""), ["not tagged hide-input: import x"]),
        (('"01_a"', '"02_b"'), ["begin: 02_b is not this notebook"]),
        (("import x\n", "import x\n\n# %%\nx = 1\n"), ["not tagged hide-input: x = 1"]),
        (("import x\n", "x = 1\n\n# %%\n"), ["begin: not called after the first imports"]),
        (("save = ", "x = "), ["begin: not called after the first imports"]),
    ],
)
def test_gate_opening(tmp_path, change, problems):
    path = tmp_path / "01_a.py"
    path.write_text(OPENING.replace(*change))
    assert untidy_opening(path) == problems


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("# %%\nx, _ = f()\n_ = g()\n\n# %%\nh()\n", []),
        ("# %%\n_ = f()\nsave(x)\n", ["_ = f()"]),
        ("# %%\nfor x in y:\n    _ = f()\n", ["_ = f()"]),
        ("# %%\n_ = save(x)\n", ["_ = save(x)"]),
    ],
)
def test_gate_silence(tmp_path, text, found):
    path = tmp_path / "01_a.py"
    path.write_text(text)
    assert needless_silence(path) == found


def test_gate_imports():
    short = "import xml\nxml.dom.minidom.parse\nxml.__name__"
    whole = "import xml.dom.minidom as m, os\nm.parse, os.path.sep"
    assert needs_more_imports([short, whole]) == ["xml.dom", "xml.dom.minidom", "xml.dom.minidom.parse"]
    assert needs_more_imports([whole, "import xml.dom.minidom\nxml.dom.minidom.parse(x).y"]) == []


def test_gate_figures(tmp_path):
    path = tmp_path / "01_a.py"
    path.write_text(
        'save(f, "fig01_x")\nsave(t, name=f"table01_{d}_x", data={})\ntorch.save(model, "file")\nstore.save(x, y)\n'
    )
    entry = {"notebook": "01_a"}
    assert unlisted(path, {"fig01_x": entry, "table01_digits_x": entry}) == []
    assert unlisted(path, {"fig01_x": entry, "table01_x": entry}) == ["not in the manifest: table01_[a-z0-9_]+_x"]
    assert unlisted(path, {"fig01_x": {"notebook": "02_b"}, "table01_digits_x": entry}) == [
        "not in the manifest: fig01_x"
    ]
    path.write_text("save(f, NAME)")
    assert unlisted(path, {"fig01_x": entry}) == ["a figure's name is not written out"]


# ------------------------------------------------------------ how they are executed


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """A checkout with the Makefile, the tools, three small notebooks and, of the package, what the Makefile calls."""
    folder = tmp_path_factory.mktemp("work shop")
    (folder / "notebooks").mkdir()
    for name in (
        "Makefile",
        "requirements.lock",
        "notebooks/execute.py",
        "notebooks/if_changed.py",
        "notebooks/warm.py",
    ):
        shutil.copy(ROOT / name, folder / name)
    for module in re.findall(r"-m (alcl[.a-z_]*)", (folder / "Makefile").read_text()):
        path = folder.joinpath(*module.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        (path.parent / "__init__.py").touch()
    (folder / "paper_figures" / "records").mkdir(parents=True)
    (folder / "paper_figures" / "records" / "a.jsonl").touch()
    (folder / "notebooks" / "01_good.py").write_text(GOOD + "open('done', 'w').close()\n")
    (folder / "notebooks" / "02_bad.py").write_text(HEADER + "# %%\nx = 1\n\n# %%\nassert x == 2, 'one is not two'\n")
    # of which the last can only be executed after the first
    (folder / "notebooks" / "03_figures.py").write_text(HEADER + "# %%\nopen('done').close()\n")
    return folder


def make(folder, *targets):
    environment = {
        key: text
        for key, text in os.environ.items()
        if key not in ("ALCL_FIGURES", "TQDM_DISABLE", "OMP_NUM_THREADS") and not key.startswith(("MAKE", "MFLAGS"))
    }
    command = ["make", "VENV=none", f"PYTHON={sys.executable}", "JOBS=2", *targets]
    environment["MPLBACKEND"] = "Agg"  # which may not reach the notebooks
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)


def executed(done):
    """The notebooks that a call of make executed, in order."""
    return re.findall(r"^notebooks/(\w+).ipynb: [\d.]+ s$", done.stdout, re.MULTILINE)


def test_make_figures(workshop, tmp_path):
    """From nothing, with a notebook that fails, after it is mended, with nothing changed, and from nothing again."""
    folder = workshop / "notebooks"
    good, bad, last = (folder / f"{name}.ipynb" for name in ("01_good", "02_bad", "03_figures"))
    bad.write_text(before := nbformat.writes(nbformat.v4.new_notebook()))
    done = make(workshop, "figures")
    assert done.returncode != 0
    assert executed(done) == ["01_good"]
    assert f"{folder}/02_bad.py: cell 3 failed: AssertionError: one is not two" in done.stderr
    assert bad.read_text() == before
    assert not last.exists()  # it waits for all the others

    text = json.loads(good.read_text())["cells"][-1]["outputs"][0]["text"]
    assert text == ["seeds 2\n", f"{folder}\n"]
    assert good.stat().st_mtime_ns == good.with_suffix(".py").stat().st_mtime_ns
    (tmp_path / "copy").mkdir()
    checks = [unexecuted(good), header_gaps(good), out_of_sync(good.with_suffix(".py"), tmp_path / "copy")]
    assert checks == [[], [], []]
    assert [problem for problem in volatile(good) if str(folder).split()[0] not in problem] == []
    assert "version" not in nbformat.read(good, 4).metadata.language_info

    source = HEADER + "# %%\nrecords = 2\nimport os\n\nimport ipykernel\n\n"
    source += "assert 'ipc' in ipykernel.get_connection_info()\nassert 'inline' in os.environ['MPLBACKEND']\n"
    source += "assert (os.environ['TQDM_DISABLE'], os.environ['OMP_NUM_THREADS']) == ('1', '1')\n"
    bad.with_suffix(".py").write_text(source)
    done = make(workshop, "figures")
    assert (done.returncode, executed(done)) == (0, ["02_bad", "03_figures"])

    for path in workshop.rglob("*.*"):
        os.utime(path)  # as a checkout does
    assert executed(make(workshop, "figures")) == []

    (folder / "A1_more.py").touch()  # an appendix
    recipes = make(workshop, "-n", "figures").stdout.splitlines()
    (folder / "A1_more.py").unlink()
    assert any(line.endswith("execute.py notebooks/A1_more.py") for line in recipes)
    readers = {line.split()[2] for line in recipes if "records/a.jsonl" in line}
    assert readers >= {"notebooks/02_bad.ipynb", "README.md"}
    assert readers.isdisjoint({"notebooks/01_good.ipynb", "notebooks/03_figures.ipynb"})

    files, state = {path.name for path in folder.iterdir()}, good.read_bytes()
    shutil.rmtree(workshop / "build")  # which no clone has
    assert executed(make(workshop, "notebooks/01_good.ipynb")) == ["01_good"]
    assert good.read_bytes() == state
    assert {path.name for path in folder.iterdir()} == files


@pytest.fixture
def remade(tmp_path):
    """A function that says whether `command` (the shell's) is run for a target of a small checkout."""
    folder = tmp_path / "check out"
    files = {
        "requirements.lock": "",
        "data.csv": "",
        "notebooks/if_changed.py": (FOLDER / "if_changed.py").read_text(),
        "notebooks/01_a.py": "from alcl import loss\nimport alcl.runs.sweep\nx = 1.5, 'x.py', b'', None\n",
        "notebooks/01_a.ipynb": "",
        "notebooks/02_b.py": "",
        "alcl/__init__.py": "lazy = 'noise'\n",
        "alcl/loss.py": "def f():\n    from .functional import f\n",
        "alcl/functional.py": "",
        "alcl/noise.py": "",
        "alcl/other.py": "import alcl.loss\n",
        "alcl/runs/__init__.py": "",
        "alcl/runs/sweep.py": "from .. import losses\nfrom ..related.labels import y\nopen('words.json')\n",
        "alcl/runs/words.json": "",
        "alcl/related/labels.py": "",
        "paper_figures/fig01_x.pdf": "",
        "paper_figures/fig02_y.pdf": "",
        "paper_figures/manifest.json": json.dumps(
            {
                "fig01_x": {"notebook": "01_a", "files": ["fig01_x.pdf"]},
                "fig02_y": {"notebook": "02_b", "files": ["fig02_y.pdf"]},
            }
        ),
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    spec = importlib.util.spec_from_file_location("if_changed", folder / "notebooks" / "if_changed.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def remade(command="true", code=0):
        (folder / "ran").unlink(missing_ok=True)
        command = ["sh", "-c", f"touch ran; {command}"]
        assert module.main(["notebooks/01_a.ipynb", "notebooks/01_a.py", "data.csv", "--", *command]) == code
        return (folder / "ran").exists()

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("ALCL_FIGURES", raising=False)
        yield remade


@pytest.mark.parametrize(
    "name",
    [
        "notebooks/01_a.py",
        "notebooks/01_a.ipynb",
        "data.csv",
        "requirements.lock",
        "alcl/__init__.py",
        "alcl/loss.py",
        "alcl/functional.py",
        "alcl/noise.py",
        "alcl/runs/__init__.py",
        "alcl/runs/sweep.py",
        "alcl/runs/words.json",
        "alcl/related/labels.py",
        "paper_figures/fig01_x.pdf",
    ],
)
def test_what_a_notebook_depends_on_and_what_it_made(remade, name):
    assert remade()
    assert not remade()
    before = Path(name).read_text()
    Path(name).write_text(before + "#")
    assert remade()
    assert not remade()
    Path(name).unlink()
    if name != "notebooks/01_a.py":
        assert remade()


@pytest.mark.parametrize("name", ["alcl/other.py", "notebooks/02_b.py", "paper_figures/fig02_y.pdf"])
def test_what_a_notebook_does_not_depend_on(remade, name):
    assert remade()
    Path(name).write_text("#")
    assert not remade()


def test_a_command_that_fails_is_run_again_and_so_is_one_whose_source_was_edited_meanwhile(remade):
    assert remade("exit 3", code=3)
    assert remade("echo '#' >> alcl/loss.py; echo 1 >> notebooks/01_a.ipynb")
    assert remade()
    assert not remade()


def test_figures_that_go_elsewhere_are_made_there(remade, monkeypatch, tmp_path):
    assert remade()
    monkeypatch.setenv("ALCL_FIGURES", str(tmp_path / "other"))
    assert remade()
