"""Execute one notebook: NN_name.py (the source) to NN_name.ipynb (executed, committed).

    python notebooks/execute.py notebooks/03_adaptation.py

jupytext brings the notebook up to date from its source, which keeps the cells' ids; papermill executes it in a fresh
kernel of this environment; what differs from run to run is taken out; and it is put in place in one step. If it fails,
the .ipynb stays as it was. `make figures` does this for all that have changed; for other parameters, call papermill.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import warm

if __name__ == "__main__" and warm.FOLDER in os.environ:
    sys.exit(warm.ask("execute", sys.argv[1:]))

sys.modules["rfc3987_syntax"] = None  # jsonschema would import it, for a second, to check what no notebook has

import nbformat
import papermill
from jupytext.cli import jupytext
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

WIDGET = "application/vnd.jupyter.widget-view+json"


def execute(source, folder):
    """The executed notebook in `folder`."""
    os.environ["TQDM_DISABLE"] = "1"  # a bar's text would differ on every run
    os.environ.pop("MPLBACKEND", None)  # figures are to be shown in the notebook
    # One thread: notebooks share the cores, and sums in another order would change the last digits of the results.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    target = source.with_suffix(".ipynb")
    for file in (source, target):
        if file.exists():
            shutil.copy(file, folder)
    update = ["--quiet", "--to", "ipynb", "--update", f"{folder}/{source.name}"]
    jupytext(update)
    notebook = papermill.execute_notebook(
        f"{folder}/{target.name}",
        None,
        kernel_name="python3",
        cwd=source.parent,
        start_timeout=600,  # of the kernel, which on a busy machine may take its time
        progress_bar=False,
        # What follows goes to nbclient.
        coalesce_streams=True,  # how print's output is cut into messages depends on timing
        store_widget_state=False,
        extra_arguments=["--log-level=CRITICAL"],  # no word of the kernel on its connection
        # A port that is free when it is chosen may be another kernel's when it is used; a file in `folder` is not.
        config=Config({"KernelManager": {"transport": "ipc", "ip": f"{folder}/kernel"}}),
    )
    strip(notebook)
    nbformat.write(notebook, f"{folder}/{target.name}")
    jupytext(update)  # in jupytext's own spelling, so that it finds nothing to update
    return folder / target.name


def strip(notebook):
    """Take out what differs from run to run or from machine to machine and is not a result."""
    notebook.metadata.pop("papermill", None)
    notebook.metadata.get("language_info", {}).pop("version", None)
    for cell in notebook.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]
        if "outputs" in cell:  # a progress bar is for those who wait
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]


def main(source):
    with tempfile.TemporaryDirectory() as folder:
        try:
            executed = execute(source, Path(folder))
        except PapermillExecutionError as error:
            return f"{error}\n{source}: cell {error.cell_index + 1} failed: {error.ename}: {error.evalue}"
        shutil.copyfile(executed, beside := source.with_name(f".{executed.name}"))
    # As old as its source: Jupyter, opening the pair, takes the source for current.
    os.utime(beside, ns=(source.stat().st_mtime_ns,) * 2)
    os.replace(beside, source.with_suffix(".ipynb"))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
