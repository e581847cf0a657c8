"""Imports run one way: paper -> related -> experiments -> the library, which needs torch, numpy and scipy alone."""

import ast
import doctest
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "alcl"
WINGS = ("alcl", "experiments", "related", "paper")  # each may import itself and those before it
LIBRARY_NEEDS = {"torch", "numpy", "scipy"}
# Composition roots: run as commands, imported by nothing.
ROOTS = {"experiments.__main__"}


def modules(package=PACKAGE):
    """{dotted name below the package: path}."""
    return {".".join(path.relative_to(package).with_suffix("").parts): path for path in sorted(package.rglob("*.py"))}


def wing(name):
    first, _, rest = name.partition(".")
    return first if rest or first in WINGS else "alcl"


def imports(name, path, everywhere=True):
    """(own, others): modules of the package, by dotted name, and other top-level packages that a module imports; with
    `everywhere` False those of its top level only."""
    tree = ast.parse(path.read_text("utf-8"))
    nodes = ast.walk(tree) if everywhere else iter(tree.body)
    parents = name.split(".")[:-1]
    own, others = set(), set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found = [node.module] if node.module != "alcl" else [f"alcl.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = parents[: len(parents) - node.level + 1]
            inside = [node.module] if node.module else [alias.name for alias in node.names]
            found = [".".join(["alcl", *base, part]) for part in inside]
        else:
            continue
        for each in found:
            top, _, rest = each.partition(".")
            if top == "alcl":
                own.add(rest or "__init__")
            else:
                others.add(top)
    return own, others - set(sys.stdlib_module_names)


def arrows(package=PACKAGE):
    """Every import of one module of the package by another: {(from, to)}."""
    there = modules(package)
    found = set()
    for name, path in there.items():
        for target in imports(name, path)[0]:
            while target and target not in there and f"{target}.__init__" not in there:
                target = target.rpartition(".")[0]  # a name inside a module
            if target and target != name:
                found.add((name, target))
    return found


def backward(package=PACKAGE):
    """Arrows from a wing to one that stands above it."""
    return sorted((a, b) for a, b in arrows(package) if a not in ROOTS and WINGS.index(wing(a)) < WINGS.index(wing(b)))


def test_imports_run_one_way():
    assert backward() == []


def test_no_circles():
    there = arrows()
    left = {name: {b for a, b in there if a == name} for name in modules()}
    while free := [name for name, targets in left.items() if not targets & set(left)]:
        for name in free:
            del left[name]
    assert left == {}


def test_nothing_imports_a_command():
    assert [(a, b) for a, b in arrows() if b in ROOTS] == []


def test_the_library_needs_torch_numpy_and_scipy():
    needs = {
        name: imports(name, path, everywhere=False)[1] - LIBRARY_NEEDS
        for name, path in modules().items()
        if wing(name) == "alcl"
    }
    assert {name: others for name, others in needs.items() if others} == {}


def test_the_library_imports_and_trains_without_the_companions_packages():
    code = (
        "import sys\n"
        "for name in 'pandas matplotlib seaborn sklearn joblib tqdm torchvision torchmetrics IPython'.split():\n"
        "    sys.modules[name] = None\n"  # as if it were not installed
        "import alcl, torch\n"
        "criterion = alcl.ALCLoss()\n"
        "criterion(torch.randn(8, requires_grad=True), torch.zeros(8)).backward()\n"
        "print(alcl.influence.psi(1.0, 2.0, 1.0), alcl.diagnose(criterion, torch.randn(100)), alcl.noise.MixedNoise)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_checks_can_fail(tmp_path):
    package = tmp_path / "alcl"
    (package / "paper").mkdir(parents=True)
    (package / "losses.py").write_text("from .paper import figures\nimport pandas\n")
    (package / "paper" / "figures.py").write_text("from ..losses import x\n")
    (package / "paper" / "__init__.py").write_text("")
    assert backward(package) == [("losses", "paper")]
    assert imports("losses", package / "losses.py", everywhere=False)[1] == {"pandas"}


@pytest.mark.parametrize("name", [name for name in modules() if name not in ROOTS])
def test_modules_can_be_read_in_one_sitting(name):
    # Not much above 500 lines, examples in docstrings aside.
    source = modules()[name].read_text("utf-8")
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    examples = [e for node in nodes for e in doctest.DocTestParser().get_examples(ast.get_docstring(node) or "")]
    shown = sum(e.source.count("\n") + e.want.count("\n") for e in examples)
    assert len(source.splitlines()) - shown <= 600, name
