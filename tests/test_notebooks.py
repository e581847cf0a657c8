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
DEFINED = {"06_benchmark": {"95": "alcl.analysis: the level of every interval"}}


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
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
        if called not in ("save", "save_table") or "notebook" not in {keyword.arg for keyword in node.keywords}:
            continue
        given = [keyword.value for keyword in node.keywords if keyword.arg == "name"]
        name = node.args[1] if len(node.args) > 1 else given[0]
        if isinstance(name, ast.Constant):
            patterns.append(re.escape(name.value))
        elif isinstance(name, ast.JoinedStr):
            parts = [re.escape(p.value) if isinstance(p, ast.Constant) else "[a-z0-9_]+" for p in name.values]
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


# ------------------------------------------------------------ over the committed notebooks


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


def test_gate_figures(tmp_path):
    path = tmp_path / "01_a.py"
    path.write_text(
        'figures.save(f, "fig01_x", notebook="01_a")\n_ = save_table(t, name=f"table01_{d}_x", notebook=N)\n'
        'torch.save(model, "file")\nstore.save(x, y)\n'
    )
    entry = {"notebook": "01_a"}
    assert unlisted(path, {"fig01_x": entry, "table01_digits_x": entry}) == []
    assert unlisted(path, {"fig01_x": entry, "table01_x": entry}) == ["not in the manifest: table01_[a-z0-9_]+_x"]
    assert unlisted(path, {"fig01_x": {"notebook": "02_b"}, "table01_digits_x": entry}) == [
        "not in the manifest: fig01_x"
    ]
    path.write_text('save(f, NAME, notebook="01_a")')
    assert unlisted(path, {"fig01_x": entry}) == ["a figure's name is not written out"]


# ------------------------------------------------------------ the tool that executes them


@pytest.fixture
def workshop(tmp_path):
    """A folder with the tool and three small notebooks, the second of which fails."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    shutil.copy(FOLDER / "execute.py", folder)
    (folder / "01_good.py").write_text(GOOD + "open('record', 'w').close()\n")
    (folder / "02_bad.py").write_text(HEADER + "# %%\nx = 1\n\n# %%\nassert x == 2, 'one is not two'\n")
    (folder / "03_figures.py").write_text(HEADER + "# %%\nopen('record').close()\n")
    return folder


def execute(folder, *arguments, **environment):
    command = [sys.executable, str(folder / "execute.py"), *arguments]
    clean = {key: text for key, text in os.environ.items() if key not in ("ALCL_FIGURES", "TQDM_DISABLE")}
    return subprocess.run(command, capture_output=True, text=True, env=clean | environment, cwd=folder.parent)


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix == ".ipynb" or path.name.startswith("."))


def test_failure_is_named_and_leaves_the_committed_notebook(workshop):
    (workshop / "02_bad.ipynb").write_text(before := nbformat.writes(nbformat.v4.new_notebook()))
    done = execute(workshop)
    assert done.returncode == 1
    assert "execute.py: 02_bad, cell 3 (In [2]): AssertionError: one is not two" in done.stderr
    assert "execute.py: failed: 02_bad, 03_figures" in done.stderr  # the figures wait for all the others
    assert (workshop / "02_bad.ipynb").read_text() == before
    assert names(workshop) == ["01_good.ipynb", "02_bad.ipynb"]
    assert "01_good" in done.stdout


def test_executed_notebooks_pass_the_gates_and_do_not_change_when_run_again(workshop, tmp_path):
    (workshop / "02_bad.py").unlink()
    path = workshop / "01_good.ipynb"
    states = []
    for _ in range(2):
        done = execute(workshop, MPLBACKEND="Agg")
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""  # no progress bar where nobody watches
        states.append([path.read_bytes(), (workshop / "03_figures.ipynb").read_bytes()])
        (workshop / "record").unlink()  # else the second round could run in the wrong order
    assert states[0] == states[1]
    (tmp_path / "copy").mkdir()
    checks = [unexecuted(path), header_gaps(path), out_of_sync(path.with_suffix(".py"), tmp_path / "copy")]
    assert checks == [[], [], []]
    assert [problem for problem in volatile(path) if str(tmp_path) not in problem] == []
    assert nbformat.read(path, 4).cells[-1].outputs[0].text == f"seeds 2\n{workshop}\n"
    assert "version" not in nbformat.read(path, 4).metadata.language_info
    assert path.stat().st_mtime_ns == path.with_suffix(".py").stat().st_mtime_ns
    assert names(workshop) == ["01_good.ipynb", "03_figures.ipynb"]


def test_other_parameters_go_elsewhere_with_their_figures(workshop, tmp_path):
    source = GOOD.replace("os.getcwd()", "os.environ['ALCL_FIGURES']")
    (workshop / "01_good.py").write_text(source)
    done = execute(workshop, "01", "-p", "seeds", "5", "--out", "other")
    assert done.returncode == 0, done.stderr
    assert names(workshop) == []
    (cell,) = [cell for cell in nbformat.read(tmp_path / "other" / "01_good.ipynb", 4).cells if cell.get("outputs")]
    assert cell.outputs[0].text == f"seeds 5\n{tmp_path / 'other' / 'paper_figures'}\n"


@pytest.fixture
def tool(workshop):
    spec = importlib.util.spec_from_file_location("execute", workshop / "execute.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["04"], "no notebook, or more than one, is called '04'; there are: 01_good, 02_bad, 03_figures"),
        (["0"], "no notebook, or more than one, is called '0'"),
        (["-p", "seeds", "3"], "-p needs --out DIR"),
        (["-p", "seeds", "3", "--out", "HERE"], "--out: must be another folder"),
        (
            ["-p", "sedes", "3", "--out", "x"],
            "-p: no notebook has a parameter 'sedes'. Parameters are 01_good: seeds; 02_bad: none; 03_figures: none",
        ),
        (["02", "-p", "seeds", "3", "--out", "x"], "-p: no notebook has a parameter 'seeds'"),
    ],
)
def test_bad_arguments_get_one_line_before_anything_runs(tool, workshop, capsys, arguments, message):
    assert tool.main([str(workshop) if text == "HERE" else text for text in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"execute.py: {message}")
    assert error.count("\n") == 1
    assert names(workshop) == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-3", 1e-3),
        ("true", True),
        ("None", None),
        ("paper", "paper"),
        ("['mse']", ["mse"]),
        ("a b", "a b"),
    ],
)
def test_parameter_values_are_read_as_typed(tool, text, value):
    assert tool.value(text) == value
    assert type(tool.value(text)) is type(value)


@pytest.mark.parametrize("text", ["01", "01_good", "01_good.py", "notebooks/01_good.ipynb"])
def test_notebooks_can_be_named_in_several_ways(tool, text):
    assert tool.select([text]) == ["01_good"]
    assert tool.select([]) == ["01_good", "02_bad", "03_figures"]


def test_appendices_are_notebooks_too(tool, workshop):
    (workshop / "A1_more.py").write_text(GOOD)
    assert tool.select(["A1"]) == ["A1_more"]
    assert tool.select([]) == ["01_good", "02_bad", "03_figures", "A1_more"]
