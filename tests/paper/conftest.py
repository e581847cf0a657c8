"""The book, built once for all tests that read it, however many processes they run in."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def book(tmp_path_factory):
    """The folder of the built book. Skipped where Sphinx is not installed (it needs Python 3.11)."""
    if not all(importlib.util.find_spec(name) for name in ("sphinx", "myst_nb", "sphinx_book_theme")):
        pytest.skip("the book's packages are not installed: the extra book")
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with FileLock(folder / "book.lock"):
        if not (folder / "book-is-built").exists():
            command = [sys.executable, "-m", "sphinx", "-E", "-W", "--keep-going", "-q", "-j", "2"]
            command += ["-d", str(folder / "trees"), str(ROOT / "notebooks"), str(folder / "book")]
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            environment.pop("BOOK_REPOSITORY", None)
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            assert done.returncode == 0, done.stderr[-4000:]
            (folder / "book-is-built").touch()
    return folder / "book"
