"""Run a command whose notebooks find their imports done.

    python notebooks/warm.py make figures

To import torch and what else a notebook uses takes longer than the cells of most notebooks. Here two processes import,
when they are first asked for something, what notebooks import (`kernel`) and what executes a notebook (`execute`). Of
the first every kernel that COMMAND starts is a fork, of the second every notebooks/execute.py. Kernels are found the
way Jupyter finds them: through a kernel of the usual name, python3, in a folder of JUPYTER_PATH. What stands in for
the fork where it was started passes signals on and ends as it does; if either is killed, so is the other.

Where there is no fork, or no place for sockets, the command runs as it would without this.
"""

import ast
import builtins
import gc
import importlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

#: The environment variable with the folder of the sockets, one for each of KINDS.
FOLDER = "ALCL_WARM"
KINDS = ("kernel", "execute")
#: What is imported only when it is used, by package: torch._dynamo with every optimizer, the others here and there.
LATER = {
    "torch": ("torch._dynamo", "torchmetrics.functional.image"),
    "matplotlib": ("matplotlib.backends.backend_agg", "matplotlib.backends.backend_pdf", "PIL.PngImagePlugin"),
    "sklearn": ("sklearn.datasets", "sklearn.linear_model", "sklearn.pipeline", "sklearn.preprocessing"),
}

# ------------------------------------------------------------ who asks


def ask(kind, arguments):
    """Have a process of this `kind` forked, with this environment, folder and streams. Returns its exit code."""
    parent = os.getppid()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(os.path.join(os.environ[FOLDER], kind))
        request = {"arguments": arguments, "environment": dict(os.environ), "folder": os.getcwd()}
        socket.send_fds(server, [b"\0"], [0, 1, 2])
        server.sendall(json.dumps(request).encode() + b"\n")
        answers = server.makefile()
        pid = int(answers.readline())
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: os.kill(pid, number))
        while not select.select([server], [], [], 1)[0]:
            if os.getppid() != parent:
                return 1  # nobody is there to hear of it; the connection's end ends the fork
        return int(answers.readline() or 1)


# ------------------------------------------------------------ who is asked


def prepare_kernel():
    """Import what notebooks import, by their own statements."""
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"  # as ipykernel sets it
    os.environ.pop("JPY_PARENT_PID", None)
    builtins.get_ipython = lambda: SimpleNamespace(kernel=True)  # pandas asks once: it shows tables for a screen or not
    here = Path(__file__).resolve().parent
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != here]
    import ipykernel.kernelapp

    assert ipykernel.kernelapp
    statements = {}
    for source in sorted(here.glob("[0-9A][0-9]_*.py")):
        for node in ast.walk(ast.parse(source.read_bytes())):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                statements[ast.unparse(node)] = None
    for statement in statements:
        with suppress(Exception):  # it will fail in the notebook, where it can be read
            exec(statement, {})
    for name in [name for package, names in LATER.items() if package in sys.modules for name in names]:
        with suppress(ImportError):
            importlib.import_module(name)
    del builtins.get_ipython


def run_kernel(arguments):
    import numpy as np
    from ipykernel.kernelapp import launch_new_instance

    np.random.seed()  # noqa: NPY002 - not the state of all other forks
    sys.argv = ["ipykernel_launcher.py", *arguments, f"--IPKernelApp.parent_handle={os.getppid()}"]
    launch_new_instance()


def prepare_execute():
    import execute

    assert execute


def run_execute(arguments):
    import execute

    sys.exit(execute.main(Path(arguments[0]).resolve()))


def receive(connection):
    """The request and the three streams that came with it."""
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    with connection.makefile() as lines:
        return json.loads(lines.readline()), streams


def become(request, streams):
    """Take over the environment, the folder and the streams of who asked, in a session of one's own."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])


def serve(kind, listener, lifeline):
    """Fork for all who ask, until the other end of `lifeline` is closed. In a fork, returns what it shall do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches those who asked, and they pass it on
    prepared, forks = False, {}
    while True:
        ready, _, _ = select.select([listener, lifeline, *forks.values()], [], [], 0.02 if forks else None)
        if lifeline in ready:
            for pid in forks:
                os.killpg(pid, signal.SIGKILL)
            os._exit(0)
        if listener in ready:
            connection, _ = listener.accept()
            try:
                request, streams = receive(connection)
            except (OSError, ValueError):  # who asked has gone already
                connection.close()
                continue
            if not prepared:
                os.environ.update(request["environment"])  # libraries read it when they are loaded
                globals()[f"prepare_{kind}"]()
                gc.collect()
                gc.freeze()  # or collections in the forks would copy all this memory
                prepared = True
            if not (pid := os.fork()):
                for other in (listener, lifeline, *forks.values()):
                    other.close()
                become(request, streams)
                with connection:
                    connection.sendall(b"%d\n" % os.getpid())
                return lambda: globals()[f"run_{kind}"](request["arguments"])
            for stream in streams:
                os.close(stream)
            forks[pid] = connection
        for pid, connection in list(forks.items()):
            if connection in ready:  # who asked says nothing more: it has gone
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                with connection, suppress(OSError):
                    connection.sendall(b"%d\n" % (code if code >= 0 else 128 - code))
                del forks[pid]


def run(command, **environment):
    """The exit code of the command, of which signals are its own concern."""
    process = subprocess.Popen(command, env=os.environ | environment)
    signal.signal(signal.SIGTERM, lambda number, _: process.send_signal(number))
    while True:
        with suppress(KeyboardInterrupt):  # the command has it, too
            code = process.wait()
            return code if code >= 0 else 128 - code


def main(command):
    if not hasattr(os, "fork"):
        return run(command)
    folder = tempfile.mkdtemp(prefix="warm-")
    spec = Path(folder, "kernels", "python3", "kernel.json")
    spec.parent.mkdir(parents=True)
    argv = [sys.executable, "-SE", __file__, "--ask", "kernel", "-f", "{connection_file}"]
    spec.write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))
    listeners, servers = {kind: socket.socket(socket.AF_UNIX) for kind in KINDS}, []
    try:
        for kind, listener in listeners.items():
            listener.bind(os.path.join(folder, kind))
            listener.listen(64)
    except OSError:  # a folder of temporary files that takes no sockets, or whose name is too long for them
        shutil.rmtree(folder)
        return run(command)
    lifeline, held = socket.socketpair()
    for kind, listener in listeners.items():
        servers.append(os.fork())
        if not servers[-1]:
            held.close()
            return serve(kind, listener, lifeline)()
        listener.close()
    try:
        path = os.pathsep.join(filter(None, [folder, os.environ.get("JUPYTER_PATH")]))
        return run(command, **{FOLDER: folder, "JUPYTER_PATH": path})
    finally:
        held.close()
        for pid in servers:
            os.waitpid(pid, 0)
        shutil.rmtree(folder)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--ask"]:
        sys.exit(ask(sys.argv[2], sys.argv[3:]))
    sys.exit(main(sys.argv[1:]))
