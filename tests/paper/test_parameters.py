"""`check_parameters`, through papermill itself: a misspelt name fails, a right one reaches the notebook."""

import re
import shutil
import sys
import tempfile

import nbformat
import papermill
import pytest
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

import alcl.paper.parameters
from alcl.paper.parameters import check_parameters, checkout, figures_dir, overwriting, records_dir, refusal

MODULE = alcl.paper.parameters.__file__


def notebook(folder, module=MODULE, name=None):
    cells = [
        nbformat.v4.new_code_cell("seeds = 10\nprofile = 'fast'", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(
            # Loaded by path: the kernel need not import the whole package.
            "import importlib.util\n"
            f"spec = importlib.util.spec_from_file_location('parameters', {str(module)!r})\n"
            "module = importlib.util.module_from_spec(spec)\n"
            "spec.loader.exec_module(module)\n"
            f"module.check_parameters(['seeds', 'profile'], {name})"
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


# ------------------------------------------------------------ figures that other parameters may not replace

SOURCE = """# %% tags=["parameters"]
seeds = [0, 1]  # of everything
level = "high"
jobs = 1

# %%
level = level.upper()
"""


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A checkout with one notebook, in which this package is made to lie; the working directory is another one."""
    for name in ("alcl", "notebooks", "paper_figures", "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "notebooks" / "05_x.py").write_text(SOURCE)
    monkeypatch.setattr(alcl.paper.parameters, "__file__", str(tmp_path / "alcl" / "paper" / "parameters.py"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    for name in ("ALCL_FIGURES", "ALCL_OVERWRITE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def kernel(monkeypatch, **values):
    import IPython

    shell = Shell()
    shell.user_ns |= values
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, None),
        ({"seeds": [0, 1], "level": "high", "jobs": 1, "other": 7}, None),
        ({"jobs": 8}, None),  # changes no result
        ({"level": "low"}, "level='low'"),
        ({"seeds": [0], "level": None}, "seeds=[0], level=None"),
    ],
)
def test_only_the_defaults_of_the_source_write_beside_it(house, monkeypatch, values, words):
    def judged(**given):
        return refusal("05_x", **given)

    for how in ({"given": values}, {}):  # as `save` is called, and as the notebook runs
        kernel(monkeypatch, **({} if how else values))
        found = judged(**how)
        assert (found is None) == (words is None)
        if words is None:
            check_parameters(["seeds", "level", "jobs"], "05_x")
            continue
        assert f"05_x with {words} may not replace what lies in {str(house / 'paper_figures')!r}" in found
        assert "Set ALCL_FIGURES to another folder, or ALCL_OVERWRITE=1" in found
    if words is not None:
        with pytest.raises(ValueError, match=r"05_x with .* may not replace"):
            check_parameters(["seeds", "level", "jobs"], "05_x")
        check_parameters(["seeds", "level", "jobs"])  # a notebook that saves nothing then


@pytest.mark.parametrize(
    ("name", "value"), [("ALCL_FIGURES", "mine"), ("ALCL_FIGURES", "/tmp/mine"), ("ALCL_OVERWRITE", "1")]
)
def test_another_folder_or_an_explicit_word_lifts_the_refusal(house, monkeypatch, name, value):
    assert refusal("05_x", {"level": "low"}) is not None
    monkeypatch.setenv(name, value)
    assert refusal("05_x", {"level": "low"}) is None


def test_the_committed_folder_is_known_by_any_spelling(house, monkeypatch):
    monkeypatch.setenv("ALCL_FIGURES", "../paper_figures")
    assert refusal("05_x", {"level": "low"}) is not None
    monkeypatch.setenv("ALCL_OVERWRITE", "0")
    assert not overwriting()
    assert refusal("05_x", {"level": "low"}) is not None


def test_a_module_has_no_defaults_to_depart_from(house):
    assert refusal("alcl.paper.bench", {"level": "low"}) is None


def test_a_default_changed_in_the_source_counts(house):
    source = house / "notebooks" / "05_x.py"
    source.write_text(SOURCE.replace("high", "low"))
    assert refusal("05_x", {"level": "low"}) is None
    assert refusal("05_x", {"level": "high"}) is not None


# ------------------------------------------------------------ folders


def test_folders_are_the_checkouts_whatever_the_working_directory(house, monkeypatch):
    (house / "paper_figures" / "records").mkdir()
    assert (checkout(), figures_dir(), records_dir()) == (
        house,
        house / "paper_figures",
        house / "paper_figures" / "records",
    )
    monkeypatch.setenv("ALCL_FIGURES", "/somewhere")
    assert str(figures_dir()) == "/somewhere"
    assert records_dir() == house / "paper_figures" / "records"


def test_without_a_checkout_the_current_folder_counts(house, monkeypatch):
    (house / "pyproject.toml").unlink()
    assert figures_dir() == house / "elsewhere" / "paper_figures"


def test_a_records_folder_that_is_given_counts_from_the_current_folder(house):
    (house / "mine").mkdir()
    (house / "mine" / "b.jsonl").write_text("{}\n")
    assert records_dir("../mine", ["a", "b"]).samefile(house / "mine")


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("nowhere", r"records: there is no folder 'nowhere' \(from '.*elsewhere'\); None stands for"),
        ("../mine", r"records: the folder '\.\./mine' holds no record of a\.jsonl, b\.jsonl; None stands for"),
        (None, r"records: there is no folder '.*paper_figures/records'"),
    ],
)
def test_records_that_are_not_there_are_one_clear_error(house, folder, message):
    (house / "mine").mkdir()
    (house / "mine" / "a.jsonl").touch()
    (house / "mine" / "c.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match=message):
        records_dir(folder, iter(["a", "b"]))


# ------------------------------------------------------------ through papermill, from another folder


def test_refusals_reach_papermill_before_any_work(house, monkeypatch):
    (house / "alcl" / "paper").mkdir()
    shutil.copy(MODULE, house / "alcl" / "paper")
    (house / "notebooks" / "01_tiny.py").write_text('# %% tags=["parameters"]\nseeds = 10\nprofile = "fast"\n')
    path = notebook(house, house / "alcl" / "paper" / "parameters.py", "'01_tiny'")
    with pytest.raises(PapermillExecutionError, match="01_tiny with seeds=3 may not replace"):
        execute(path, seeds=3)
    assert execute(path, seeds=10).cells[-1].outputs[0].text == "10 fast\n"
    monkeypatch.setenv("ALCL_FIGURES", "mine")
    assert execute(path, seeds=3).cells[-1].outputs[0].text == "3 fast\n"


def test_without_ipython_it_does_nothing(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    check_parameters([])
    assert "IPython" not in sys.modules


def test_one_string_is_not_a_collection_of_names():
    with pytest.raises(TypeError, match="known: must be a collection of names, not the string 'seeds'"):
        check_parameters("seeds")
