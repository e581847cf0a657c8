"""The package without torch, for processes that test what needs none: to import it takes seconds in each of them."""

from pathlib import Path

import alcl

#: The package has no face that imports everything, and torch is what a worker of a sweep calls of it.
FILES = {
    "alcl/__init__.py": f"__path__ = [{str(Path(alcl.__file__).parent)!r}]\n",
    "torch.py": "def set_num_threads(number):\n    assert number == 1\n",
}


def light(folder):
    """`folder`, where a process that is started in it, or has it on its path, finds the package so."""
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder
