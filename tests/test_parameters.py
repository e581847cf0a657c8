"""`check_parameters`, through papermill itself: a misspelt name fails, a right one reaches the notebook."""

import re
import sys
import tempfile

import nbformat
import papermill
import pytest
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

import alcl.parameters
from alcl.parameters import check_parameters


def notebook(folder):
    cells = [
        nbformat.v4.new_code_cell("seeds = 10\nprofile = 'fast'", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(
            # Loaded by path: the kernel need not import the whole package.
            "import importlib.util\n"
            f"spec = importlib.util.spec_from_file_location('parameters', {alcl.parameters.__file__!r})\n"
            "module = importlib.util.module_from_spec(spec)\n"
            "spec.loader.exec_module(module)\n"
            "module.check_parameters(['seeds', 'profile'])"
        ),
        nbformat.v4.new_code_cell("print(seeds, profile)"),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path = folder / "tiny.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
    return path


def execute(path, **parameters):
    """Streams in one piece, however busy the machine is; and no ports, which another kernel may take meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        config = Config({"KernelManager": {"transport": "ipc", "ip": f"{folder}/kernel"}})
        options = {"progress_bar": False, "start_timeout": 600, "coalesce_streams": True, "config": config}
        return papermill.execute_notebook(path, path.with_name("out.ipynb"), parameters=parameters, **options)


def test_misspelt_parameter_fails_through_papermill(tmp_path):
    message = "unknown parameter 'sedes' (do you mean 'seeds'?), 'zzz'; this notebook has: profile, seeds"
    with pytest.raises(PapermillExecutionError, match=re.escape(message)) as caught:
        execute(notebook(tmp_path), sedes=3, zzz=True, profile="paper")
    assert caught.value.ename == "ValueError"


def test_right_parameters_and_none_at_all_pass_through_papermill(tmp_path):
    path = notebook(tmp_path)
    assert execute(path, seeds=3).cells[-1].outputs[0].text == "3 fast\n"
    assert execute(path).cells[-1].outputs[0].text == "10 fast\n"


class Shell:
    def __init__(self, *cells):
        self.user_ns = {"In": list(cells)}


@pytest.mark.parametrize(
    ("cells", "unknown"),
    [
        ([], None),
        (["seeds = 3", "# Parameter sweep\nother = 3"], None),
        (["# Parameters\nseeds = 3\n"], None),
        (['# Parameters\nseeds = {"other": [1]}\ntext = "# Parameters\\nmore = 1"\n'], "unknown parameter 'text';"),
        (["# Parameters\nSeeds = 3\n"], "unknown parameter 'Seeds' .do you mean 'seeds'"),
    ],
)
def test_names_are_read_from_the_injected_cell_only(monkeypatch, cells, unknown):
    import IPython

    monkeypatch.setattr(IPython, "get_ipython", lambda: Shell("", *cells))
    if unknown is None:
        assert check_parameters(["seeds"]) is None
    else:
        with pytest.raises(ValueError, match=unknown):
            check_parameters(["seeds"])


def test_without_ipython_it_does_nothing(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    check_parameters([])
    assert "IPython" not in sys.modules


def test_one_string_is_not_a_collection_of_names():
    with pytest.raises(TypeError, match="known: must be a collection of names, not the string 'seeds'"):
        check_parameters("seeds")
