"""Execute the notebooks: NN_name.py or A1_name.py (the source) to .ipynb (executed, committed).

    python notebooks/execute.py                       all of them, two at a time, NN_figures last
    python notebooks/execute.py 03 04_noise --jobs 1  some of them
    python notebooks/execute.py 05 -p seeds 3 --out /tmp/try     with another parameter, elsewhere

Each notebook is brought up to date from its source by jupytext, which keeps the cells' ids, executed by papermill
in a fresh kernel with this folder as its working directory, freed of times and versions, and put in place in one
step. A notebook that fails is reported with its cell and error, and its .ipynb stays as it was.
"""

from __future__ import annotations

import argparse
import ast
import logging
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import papermill
from jupytext.cli import jupytext as run_jupytext
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
WIDGET = "application/vnd.jupyter.widget-view+json"
LAST = "_figures"  # the notebook whose name ends so draws from what the others record


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    try:
        names = select(options.names)
        parameters = {name: value(text) for name, text in options.parameter}
        out = destination(options.out, parameters)
        mine = share_out(parameters, names) if parameters else {name: {} for name in names}
    except ValueError as error:
        print(f"execute.py: {error}", file=sys.stderr)
        return 2
    quiet = bool(os.environ.get("TQDM_DISABLE") or os.environ.get("CI"))
    prepare_environment(out)
    total = sum(cell.cell_type == "code" for name in names for cell in jupytext.read(HERE / f"{name}.py").cells)
    # disable=None: no bar where nobody watches, that is, when stderr is not a terminal.
    with tqdm(total=total, unit="cell", desc="notebooks", disable=True if quiet else None) as bar:
        failed = execute_all(names, mine, out, options.jobs, bar)
    if failed:
        print(f"execute.py: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    description, _, details = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        "execute.py", description=description, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help='notebooks, "03_influence" or just "03"; default: all')
    parser.add_argument(
        "-p", dest="parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="set a parameter"
    )
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="notebooks at a time (default: 2)")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="put executed notebooks here, and figures below it; needed with -p"
    )
    options = parser.parse_args(arguments)
    if options.jobs < 1:
        parser.error("--jobs must be at least 1")
    return options


def value(text: str) -> Any:
    """A parameter's value as typed: a Python literal, true, false or none; else the text itself."""
    words = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def select(asked: Sequence[str]) -> list[str]:
    """Names of the notebooks asked for (all, if none is), in their order. A name may end in .py or be a beginning."""
    known = sorted(path.stem for path in [*HERE.glob("[0-9][0-9]_*.py"), *HERE.glob("A[0-9]_*.py")])
    if not asked:
        return known
    chosen = set()
    for text in asked:
        start = Path(text).name.removesuffix(".py").removesuffix(".ipynb")
        found = [name for name in known if name == start] or [name for name in known if name.startswith(start)]
        if len(found) != 1:
            raise ValueError(f"no notebook, or more than one, is called {text!r}; there are: {', '.join(known)}")
        chosen.add(found[0])
    return sorted(chosen)


def destination(out: Path | None, parameters: dict[str, Any]) -> Path:
    """The folder for the executed notebooks."""
    if out is None and parameters:
        raise ValueError("-p needs --out DIR: the committed notebooks hold the default parameters")
    if out is not None and parameters and out.resolve() == HERE:
        raise ValueError("--out: must be another folder than the committed notebooks' when -p is given")
    return HERE if out is None else out.resolve()


def share_out(parameters: dict[str, Any], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The parameters each notebook takes of those given. Papermill itself would only warn of one that none has."""
    with tempfile.TemporaryDirectory() as folder:
        known = {name: set(papermill.inspect_notebook(str(updated(name, Path(folder))))) for name in names}
    unknown = sorted(set(parameters) - set().union(*known.values()))
    if unknown:
        have = "; ".join(f"{name}: {', '.join(sorted(known[name])) or 'none'}" for name in names)
        raise ValueError(f"-p: no notebook has a parameter {', '.join(map(repr, unknown))}. Parameters are {have}")
    return {name: {key: parameters[key] for key in parameters if key in known[name]} for name in names}


def prepare_environment(out: Path) -> None:
    """Settle what the kernels inherit: folder, threads, progress bars, backend."""
    os.chdir(HERE)  # the kernels' working directory; papermill's own `cwd` is not safe in threads
    os.environ["TQDM_DISABLE"] = "1"  # a bar's text would differ on every run
    os.environ.pop("MPLBACKEND", None)  # figures are to be shown in the notebook
    # One thread: notebooks share the cores, and sums in another order would change the last digits of the results.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if out != HERE:
        os.environ.setdefault("ALCL_FIGURES", str(out / "paper_figures"))
    logging.getLogger("papermill").setLevel(logging.ERROR)


def execute_all(
    names: Sequence[str], parameters: dict[str, dict[str, Any]], out: Path, jobs: int, bar: tqdm[Any]
) -> list[str]:
    """Execute the notebooks, the one that draws the figures after all the others.

    Returns the names of those that failed, or were not run because others had.
    """
    failed: list[str] = []
    pool = ThreadPoolExecutor(jobs)  # the work is in the kernels, which are processes
    try:
        for stage in (
            # backwards: the long ones have high numbers, and begun first they leave no core idle at the end
            [name for name in reversed(names) if not name.endswith(LAST)],
            [name for name in names if name.endswith(LAST)],
        ):
            if failed:
                failed += stage
                continue
            started: dict[Future[float], str] = {
                pool.submit(execute, name, parameters[name], out, bar.update): name for name in stage
            }
            for future in as_completed(started):
                name, error = started[future], future.exception()
                if error is None:
                    tqdm.write(f"{name:<24} {future.result():6.1f} s", file=sys.stdout)
                else:
                    failed.append(name)
                    tqdm.write(explain(name, error), file=sys.stderr)
    except KeyboardInterrupt:
        print("execute.py: interrupted; notebooks that had not finished are as they were", file=sys.stderr)
        os._exit(130)  # without waiting for the threads; a kernel ends itself when its parent is gone
    return sorted(failed)


def explain(name: str, error: BaseException) -> str:
    """One line with notebook, cell and error, below the traceback if there is one."""
    if not isinstance(error, PapermillExecutionError):
        return f"execute.py: {name}: {type(error).__name__}: {error}"
    trace = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback))
    where = f"cell {error.cell_index + 1} (In [{error.exec_count}])"
    return f"{trace}\nexecute.py: {name}, {where}: {error.ename}: {error.evalue}"


def updated(name: str, folder: Path) -> Path:
    """`name`.ipynb in `folder`, made from the source and, if there is one, the present .ipynb with its cell ids."""
    for suffix in (".py", ".ipynb"):
        if (HERE / (name + suffix)).exists():
            shutil.copy(HERE / (name + suffix), folder)
    return synchronize(folder / f"{name}.py")


def synchronize(source: Path) -> Path:
    """Make the .ipynb beside a source, or bring it up to date; outputs and ids of unchanged cells stay."""
    run_jupytext(["--quiet", "--to", "ipynb", "--update", str(source)])
    return source.with_suffix(".ipynb")


def execute(name: str, parameters: dict[str, Any], out: Path, tick: Callable[[], object]) -> float:
    """Execute one notebook and put it in place. Returns the seconds it took; raises what the notebook raised."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        path = updated(name, Path(temporary))
        notebook = papermill.execute_notebook(
            str(path),
            None,
            parameters=parameters,
            kernel_name="python3",
            progress_bar=False,
            # What follows goes to nbclient.
            on_cell_executed=lambda **_: tick(),
            coalesce_streams=True,  # how print's output is cut into messages depends on timing
            store_widget_state=False,
            extra_arguments=["--log-level=CRITICAL"],  # of the kernel: no word on unencrypted local TCP
        )
        strip(notebook)
        nbformat.write(notebook, path)
        if not parameters:
            synchronize(path.with_suffix(".py"))  # in jupytext's own spelling, so that it finds nothing to update
        out.mkdir(parents=True, exist_ok=True)
        put(path, out / f"{name}.ipynb")
    # As old as its source: make finds it up to date, and Jupyter, opening the pair, takes the source for current.
    stamp = (HERE / f"{name}.py").stat().st_mtime_ns
    os.utime(out / f"{name}.ipynb", ns=(stamp, stamp))
    return time.perf_counter() - began


def strip(notebook: NotebookNode) -> None:
    """Remove what differs from run to run or from machine to machine and is not a result."""
    notebook.metadata.pop("papermill", None)
    notebook.metadata.get("language_info", {}).pop("version", None)
    for cell in notebook.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]
        if "outputs" in cell:  # a progress bar is for those who wait
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]


def put(source: Path, target: Path) -> None:
    """Copy a file to its place in one step."""
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(handle)
    try:
        shutil.copyfile(source, temporary)
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


if __name__ == "__main__":
    sys.exit(main())
