"""The sweep on a cluster: a real dask scheduler and two worker processes here, of which one is killed in mid-sweep."""

import os
import subprocess
import sys
import time

import pytest

from alcl.experiments import protocol, sweeps
from alcl.experiments.reconstruction import method_run, sweep
from alcl.experiments.records import RecordStore

SMALL = {"epochs": 3, "n_train": 200, "n_test": 100}


@pytest.mark.parametrize(
    ("backend", "scheduler", "message"),
    [
        ("slurm", None, "backend must be one of loky, dask; got 'slurm'"),
        ("loky", "tcp://host:8786", "scheduler belongs to the backend dask"),
    ],
)
def test_what_is_wrong_is_named_before_anything_is_run(tmp_path, backend, scheduler, message):
    store = RecordStore(tmp_path / "digits.jsonl")
    with pytest.raises(ValueError, match=message):
        sweep([method_run("mse", "digits", "low", **SMALL)], store, backend=backend, scheduler=scheduler)
    with pytest.raises(ValueError, match=message):
        protocol.run_profile("live", tmp_path, backend=backend, scheduler=scheduler)
    assert list(tmp_path.iterdir()) == []


def test_a_backend_that_is_not_installed_or_has_no_address(monkeypatch):
    monkeypatch.setattr(sweeps.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="backend 'dask' needs the package distributed"):
        sweeps.check_backend("dask", None)
    monkeypatch.setattr(sweeps.importlib.util, "find_spec", lambda name: object())
    with pytest.raises(ValueError, match="scheduler must be the address of a dask scheduler"):
        sweeps.check_backend("dask", None)


def until(condition, seconds=600):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the cluster did not come up"
        time.sleep(0.05)


@pytest.fixture
def cluster(tmp_path):
    """(address, worker processes) of a scheduler with two workers of one thread each; all ended afterwards."""
    pytest.importorskip("distributed", reason="the cluster's software is not installed: pip install distributed")
    from distributed import Client

    def start(*arguments):
        command = [sys.executable, "-m", "dask", *arguments]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)

    file = tmp_path / "scheduler.json"
    processes = [start("scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))]
    try:
        until(file.exists)
        # without a nanny, which would start a killed worker again
        worker = ("worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-nanny", "--no-dashboard")
        processes += [start(*worker) for _ in range(2)]
        with Client(scheduler_file=str(file), set_as_default=False) as client:
            until(lambda: len(client.scheduler_info()["workers"]) == 2)
            address = client.scheduler.address
        yield address, processes[1:]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def kill_one_in_mid_sweep(store, kill, monkeypatch):
    """Call `kill` when two records are there: workers have work in hand, and runs are to come. Returns the digests
    appended, which fill up as the sweep goes on."""
    append, seen = store.append, []

    def killing(record, replace=False):
        append(record, replace=replace)
        seen.append(record["digest"])
        if len(seen) == 2:
            kill()

    monkeypatch.setattr(store, "append", killing)
    return seen


def check_complete(records, seen, runs, store, tmp_path):
    """All records, each written once and by this process, and equal to those made without a cluster."""
    assert [r["digest"] for r in records] == [c.digest for c in runs]
    assert sorted(seen) == sorted(c.digest for c in runs)
    assert store.verify() == []
    here = sweep(runs, RecordStore(tmp_path / "here.jsonl"), progress=False)
    for key in ("digest", "config", "metrics", "history", "data"):
        assert [r[key] for r in records] == [r[key] for r in here]


RUNS = [method_run(method, "digits", "high", seed, **SMALL) for seed in range(4) for method in ("alcl", "mse")]


def test_a_worker_killed_in_mid_sweep_costs_no_record(tmp_path, cluster, monkeypatch):
    address, workers = cluster
    store = RecordStore(tmp_path / "cluster.jsonl")

    def kill():
        workers[0].kill()
        workers[0].wait()  # on a busy machine the sweep could else end before the worker has

    seen = kill_one_in_mid_sweep(store, kill, monkeypatch)
    records = sweep(RUNS, store, backend="dask", scheduler=address, progress=False)
    assert workers[0].poll() is not None
    assert workers[1].poll() is None
    check_complete(records, seen, RUNS, store, tmp_path)
