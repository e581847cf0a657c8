"""Sweeps that are killed, doubled and run out of disk: in the end the records are those of an undisturbed sweep.

Real sweeps of real (small) training runs. One process imports everything and forks the sweeps, which are then killed:
an import for each of them would take minutes.
"""

import json
import os
import subprocess
import sys

import pytest

from alcl.records import RecordStore

#: `make test-deep` kills ten times as often.
KILLS = 250 if os.environ.get("HYPOTHESIS_PROFILE") == "deep" else 25

SCRIPT = """
import json, os, random, resource, signal, sys, time, traceback, warnings
import torch
from alcl import experiments, records
from alcl.experiments import method_run, sweep
from alcl.models import make_model
from alcl.records import RecordStore
torch.set_num_threads(1)
warnings.simplefilter("ignore")
experiments._load("digits")
experiments._commit()
folder, kills = sys.argv[1], int(sys.argv[2])
small = dict(epochs=1, n_train=128, n_validation=32, n_test=32)
RUNS = [method_run(m, "digits", "high", seed, **small) for seed in range(8) for m in ("mse", "alcl", "cauchy")]

# What a run imports when it comes to it, imported here: else each sweep would be killed at its imports.
task = experiments.make_task(RUNS[0])
experiments.evaluate(make_model("mlp", task.train_inputs.shape[1:], hidden=8, code=4, seed=0), task)

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
