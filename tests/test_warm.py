"""Kernels and executors that are forks of one process: they share its imports, and nothing else."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

WARM = Path(__file__).resolve().parent.parent / "notebooks" / "warm.py"

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")

CLIENT = """
import json, os, signal, sys, time
from jupyter_client.manager import KernelManager

folder = sys.argv[1]
kernels = []

def start(**environment):
    manager = KernelManager(kernel_name="python3", transport="ipc", ip=f"{folder}/{os.getpid()}-{len(kernels)}")
    manager.start_kernel(cwd=folder, env=os.environ | environment)
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=300)
    kernels.append((manager, client))

def ask(number, source):
    said = []
    kernels[number][1].execute_interactive(source, output_hook=lambda m: said.append(m["content"]), timeout=300)
    return "".join(content.get("text", content.get("ename", "")) for content in said).strip()

def ended(condition):
    end = time.monotonic() + 300
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()

def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True

start(MINE="first")
start(MINE="second")
ABOUT = '''
import json, os, sys
import numpy as np
import pandas as pd
print(json.dumps({
    "imported": "colorsys" in sys.modules, "mine": os.environ["MINE"], "folder": os.getcwd(), "pid": os.getpid(),
    "parent": os.getppid(), "random": np.random.rand(), "held": globals().get("held"), "main": __name__,
    "path": sys.path, "backend": os.environ["MPLBACKEND"], "columns": pd.get_option("display.max_columns"),
}))
held = 1
'''
abouts = [json.loads(ask(number, ABOUT)) for number in (0, 1)]
found = {"abouts": abouts, "process": kernels[0][0].provisioner.process.pid}

manager, client = kernels[0]
client.execute("import time\\nprint('begun', flush=True)\\ntime.sleep(600)", stop_on_error=False)
while client.get_iopub_msg(timeout=300)["content"].get("text") != "begun\\n":
    pass
manager.interrupt_kernel()
found["interrupted"] = client.get_shell_msg(timeout=300)["content"].get("ename"), ask(0, "print(held)")

kernels[0][1].execute("import os; os._exit(3)")
found["died"] = ended(lambda: not manager.is_alive()) and manager.provisioner.process.returncode

kernels[1][0].provisioner.process.kill()  # and the kernel with it
found["killed"] = ended(lambda: gone(abouts[1]["pid"]))

start(MINE="third")
found["third"] = json.loads(ask(2, ABOUT))["pid"]
print(json.dumps(found), flush=True)
if sys.argv[2:]:
    time.sleep(600)
sys.exit(7)  # and the third kernel is not shut down
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the tool and one notebook, which imports something small."""
    folder = tmp_path_factory.mktemp("note books")
    shutil.copy(WARM, folder)
    (folder / "01_a.py").write_text("import no_such_package\nimport colorsys\nimport pandas\n")
    (folder / "client.py").write_text(CLIENT)
    return folder


def alive(pid):
    """Whether a process is there and no zombie."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(shown) and shown[0] != "Z"


def wait_until(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def command(folder, *arguments):
    python = [sys.executable, str(folder / "warm.py"), sys.executable]
    return [*python, str(folder / "client.py"), str(folder), *arguments]


def test_kernels_share_imports_and_nothing_else(folder, tmp_path):
    environment = {name: text for name, text in os.environ.items() if name != "MPLBACKEND"}
    environment |= {"TMPDIR": str(tmp_path), "JUPYTER_RUNTIME_DIR": str(tmp_path / "jupyter")}
    done = subprocess.run(command(folder), capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 7, done.stdout + done.stderr
    found = json.loads(done.stdout)
    first, second = found["abouts"]
    assert (first["mine"], second["mine"]) == ("first", "second")
    for about in (first, second):
        assert about["imported"]
        assert about["held"] is None
        assert about["main"] == "__main__"
        assert Path(about["folder"]).samefile(folder)
        assert str(folder) not in about["path"]
        assert about["columns"] == 20  # not those of a terminal
        assert about["backend"] == "module://matplotlib_inline.backend_inline"
    assert first["parent"] == second["parent"]
    assert first["pid"] != found["process"]  # which stands in for it
    assert first["random"] != second["random"]
    assert found["interrupted"] == ["KeyboardInterrupt", "1"]  # the kernel goes on
    assert found["died"] == 3
    assert found["killed"]
    assert not any(alive(pid) for pid in (first["pid"], second["pid"], found["third"], first["parent"]))
    assert [path for path in tmp_path.iterdir() if path.name.startswith("warm-")] == []


def test_kernels_end_with_the_tool_even_if_it_is_killed(folder, tmp_path, request):
    environment = os.environ | {"TMPDIR": str(tmp_path), "JUPYTER_RUNTIME_DIR": str(tmp_path / "jupyter")}
    tool = subprocess.Popen(
        command(folder, "wait"), stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    request.addfinalizer(lambda: os.killpg(tool.pid, signal.SIGKILL))  # the command, as nobody ends it
    found = json.loads(tool.stdout.readline())
    pids = found["third"], found["abouts"][0]["parent"]
    assert all(alive(pid) for pid in pids)
    tool.kill()
    tool.wait()
    wait_until(lambda: not any(alive(pid) for pid in pids))


def test_signals_reach_the_command_and_its_code_comes_back(folder):
    script = (
        "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(5)); print(1, flush=True); time.sleep(600)"
    )
    tool = subprocess.Popen([sys.executable, str(WARM), sys.executable, "-c", script], stdout=subprocess.PIPE)
    tool.stdout.readline()
    tool.terminate()
    assert tool.wait() == 5


def test_without_a_place_for_sockets_the_command_runs_as_it_is(tmp_path):
    (long := tmp_path / ("x" * 120)).mkdir()
    environment = {name: text for name, text in os.environ.items() if name != "ALCL_WARM"} | {"TMPDIR": str(long)}
    tool = [
        sys.executable,
        str(WARM),
        sys.executable,
        "-c",
        "import os, sys; sys.exit(3 + ('ALCL_WARM' in os.environ))",
    ]
    assert subprocess.run(tool, env=environment).returncode == 3
    assert list(long.iterdir()) == []
    assert subprocess.run(tool, env=environment | {"TMPDIR": str(tmp_path)}).returncode == 4


def test_without_fork_the_command_runs_as_it_is(monkeypatch):
    spec = importlib.util.spec_from_file_location("warm", WARM)
    warm = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(warm)
    monkeypatch.delattr(os, "fork")
    handler = signal.getsignal(signal.SIGTERM)
    try:
        script = f"import os, sys; sys.exit(5 if {warm.FOLDER!r} in os.environ else 3)"
        assert warm.main([sys.executable, "-c", script]) == (5 if warm.FOLDER in os.environ else 3)
        assert warm.main([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]) == 128 + 9
    finally:
        signal.signal(signal.SIGTERM, handler)
