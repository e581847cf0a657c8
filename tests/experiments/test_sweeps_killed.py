"""Sweeps that are killed, doubled and run out of disk: in the end the records are those of an undisturbed sweep.

Real sweeps of real (small) training runs. One process imports everything and forks the sweeps, which are then killed:
an import for each of them would take minutes.
"""

import json
import os
import signal
import subprocess
import sys
import time
import warnings

import pytest
from light import light

from alcl.experiments.records import RecordStore

#: `make test-deep` kills ten times as often.
KILLS = 250 if os.environ.get("HYPOTHESIS_PROFILE") == "deep" else 25

SCRIPT = """
import json, os, random, resource, signal, sys, time, traceback, warnings
import torch
from alcl.experiments import configs, reconstruction, records
from alcl.experiments.reconstruction import method_run, sweep
from alcl.experiments.models import make_model
from alcl.experiments.records import RecordStore
torch.set_num_threads(1)
warnings.simplefilter("ignore")
reconstruction._load("digits")
configs.commit()
folder, kills = sys.argv[1], int(sys.argv[2])
small = dict(epochs=1, n_train=128, n_validation=32, n_test=32)
RUNS = [method_run(m, "digits", "high", seed, **small) for seed in range(8) for m in ("mse", "alcl", "cauchy")]

# What a run imports when it comes to it, imported here: else each sweep would be killed at its imports.
task = reconstruction.make_task(RUNS[0])
reconstruction.evaluate(make_model("mlp", task.train_inputs.shape[1:], hidden=8, code=4, seed=0), task)

# Records are written a few bytes at a time, as a kernel may, so that a kill can fall inside a line.
write = os.write
def slowly(descriptor, content):
    time.sleep(0.0003)
    return write(descriptor, bytes(content)[:60])
records.os.write = slowly

def start(name, limit=None):
    pid = os.fork()
    if pid:
        return pid
    code = 3
    try:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        sweep(RUNS, RecordStore(f"{folder}/{name}.jsonl"), progress=False)
        code = 0
    except OSError as error:
        print(f"OSError: {error}", flush=True)
        code = 2
    except BaseException:
        traceback.print_exc()
    os._exit(code)

def finish(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""

UNDISTURBED = """
begin = time.perf_counter()
assert finish(start("whole")) == 0
print(json.dumps({"seconds_a_run": (time.perf_counter() - begin) / len(RUNS)}), flush=True)
"""

KILLED = """
rng, done, rounds = random.Random(3), 0, 0
window = 4 * (time.perf_counter() - begin) / len(RUNS)
while done < kills:
    before = os.stat(path).st_size if os.path.exists(path := f"{folder}/killed{rounds}.jsonl") else 0
    pid = start(f"killed{rounds}")
    time.sleep(rng.uniform(0, window))
    os.kill(pid, signal.SIGKILL)
    code = finish(pid)
    assert code in (0, -signal.SIGKILL), code
    if code and (not os.path.exists(path) or os.stat(path).st_size == before):
        window *= 1.1  # it had written nothing, so that there was nothing to lose: such a kill does not count
        continue
    done += code == -signal.SIGKILL
    rounds += code == 0  # it had finished: on with another store
assert finish(start(f"killed{rounds}")) == 0  # resumed to the end
print(json.dumps({"kills": done, "stores": rounds + 1}), flush=True)
"""

DOUBLED = """
pair = [start("doubled"), start("doubled")]
assert [finish(pid) for pid in pair] == [0, 0]
"""

FULL = """
assert finish(start("full", limit=5000)) == 2
lines = len(RecordStore(f"{folder}/full.jsonl").read())
problems = RecordStore(f"{folder}/full.jsonl").verify()
assert finish(start("full")) == 0
print(json.dumps({"before": lines, "problems": problems}), flush=True)
"""


def timeless(record):
    return {key: value for key, value in record.items() if key != "seconds"}


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory):
    """The folder of the stores, and what the script printed."""
    folder = tmp_path_factory.mktemp("sweeps")
    script = SCRIPT + UNDISTURBED + KILLED + DOUBLED + FULL
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script, str(folder), str(KILLS)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    said, told = {}, []
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            said |= json.loads(line)
        else:
            told.append(line)
    whole = [timeless(record) for record in RecordStore(folder / "whole.jsonl").read()]
    assert len(whole) == 24
    return folder, said, told, whole


def test_sweeps_killed_at_random_moments_end_as_if_they_had_not_been(disturbed):
    folder, said, _, whole = disturbed
    assert said["kills"] == KILLS
    torn = 0
    for number in range(said["stores"]):
        store = RecordStore(folder / f"killed{number}.jsonl")
        problems = store.verify()
        assert {problem.kind for problem in problems} <= {"torn"}  # the line in flight, and no other
        torn += len(problems)
        assert len(store.repair()) == len(problems)
        assert store.verify() == []
        # the same records, in the same order, but for the seconds they took
        assert [timeless(record) for record in store.read()] == whole
    assert torn <= KILLS


def test_two_sweeps_at_once_on_one_store(disturbed):
    folder, _, _, whole = disturbed
    store = RecordStore(folder / "doubled.jsonl")
    assert store.verify() == []
    records = {record["digest"]: timeless(record) for record in store.read()}
    assert records == {record["digest"]: record for record in whole}


def test_a_sweep_on_a_full_disk_says_so_and_resumes(disturbed):
    folder, said, told, whole = disturbed
    assert len(told) == 1
    assert told[0].startswith("OSError: ")
    assert f"cannot write {folder}/full.jsonl: File too large" in told[0]
    assert 0 < said["before"] < len(whole)
    assert said["problems"] == []  # the line that did not fit was cut back
    assert [timeless(record) for record in RecordStore(folder / "full.jsonl").read()] == whole


# --- sweeps with workers ----------------------------------------------------------------------------------------------

#: A sweep as a command starts it, with two workers: the process group is a new one, as that of a shell's job.
WITH_WORKERS = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits that it is ignored
from collections import namedtuple
from alcl.experiments import sweeps
from alcl.experiments.records import RecordStore

sweeps._IDLE = 10**6  # so that workers which end do so for another reason
class Config(namedtuple("Config", "number")):
    digest = property(lambda self: f"run{self.number}")

def run(config):
    time.sleep(0.05)
    return {"digest": config.digest, "square": config.number**2, "worker": os.getpid()}

store, runs = RecordStore(sys.argv[1]), [Config(number) for number in range(int(sys.argv[2]))]
sys.exit(sweeps.command(lambda: sweeps.sweep(runs, store, run, jobs=2, progress=False) and 0))
"""
RUNS = 150


def start_with_workers(path, runs=RUNS):
    """The process, with its stderr in a file: of a pipe, workers that outlive it would hold the other end."""
    command = [sys.executable, "-c", WITH_WORKERS, str(path), str(runs)]
    with path.with_suffix(".err").open("w") as stderr:
        return subprocess.Popen(command, start_new_session=True, stderr=stderr, cwd=light(path.parent))


def group(leader):
    """The processes of a process group that are not zombies."""
    table = subprocess.run(["ps", "-A", "-o", "pid=,pgid=,stat="], capture_output=True, text=True, check=True).stdout
    return [
        int(pid) for pid, pgid, stat in map(str.split, table.splitlines()) if int(pgid) == leader and stat[0] != "Z"
    ]


def wait_until(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def read_quietly(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a torn line
        return RecordStore(path).read()


def kill(kind, sweep, path):
    """Kill one worker, or the whole sweep as SIGTERM, SIGKILL or Ctrl-C do; True if the sweep has ended."""
    if kind == "worker":
        os.kill(read_quietly(path)[-1]["worker"], signal.SIGKILL)
        return False
    if kind == "Ctrl-C":
        os.killpg(sweep.pid, signal.SIGINT)  # a terminal sends it to all
    else:
        sweep.send_signal(signal.Signals[kind])
    code, said = sweep.wait(), path.with_suffix(".err").read_text()
    assert (code, "goes on from there" in said) == {
        "SIGTERM": (143, True),
        "SIGKILL": (-signal.SIGKILL, False),
        "Ctrl-C": (130, True),
    }[kind], said
    assert "Traceback" not in said
    wait_until(lambda: not group(sweep.pid))  # workers end with their parent
    return True


@pytest.mark.skipif(os.name == "nt", reason="signals and process groups")
def test_sweeps_with_workers_lose_nothing_and_leave_nobody_behind(tmp_path, request):
    path = tmp_path / "store.jsonl"
    acknowledged, leaders = {}, []
    request.addfinalizer(lambda: [os.kill(pid, signal.SIGKILL) for leader in leaders for pid in group(leader)])
    for number, kind in enumerate(("SIGTERM", "SIGKILL", "Ctrl-C", "worker"), start=1):
        sweep = start_with_workers(path)
        leaders.append(sweep.pid)
        wait_until(lambda enough=30 * number: len(read_quietly(path)) >= enough)
        assert sweep.poll() is None
        ended = kill(kind, sweep, path)
        there = {record["digest"]: record for record in read_quietly(path)}
        assert acknowledged.items() <= there.items()  # nothing is lost, and nothing runs twice
        acknowledged = there
    assert not ended
    assert sweep.wait() == 0, path.with_suffix(".err").read_text()
    wait_until(lambda: not group(sweep.pid))
    RecordStore(path).repair()
    records = {record["digest"]: record for record in RecordStore(path).read()}
    assert acknowledged.items() <= records.items()
    assert {name: record["square"] for name, record in records.items()} == {f"run{n}": n**2 for n in range(RUNS)}
