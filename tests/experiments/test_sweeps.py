"""The sweep, with runs that are nothing but a number: what is run, what is recorded, what failed."""

import os
import signal
import sys
from types import SimpleNamespace

import pytest
from light import light

from alcl.experiments import sweeps
from alcl.experiments.records import RecordStore
from alcl.experiments.sweeps import RunsFailed, command, sweep


@pytest.fixture(scope="module", autouse=True)
def light_workers(tmp_path_factory):
    """Workers import no torch, which these runs do not need."""
    sweeps.end_workers()  # those of other tests
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(light(tmp_path_factory.mktemp("light")))
        yield
    sweeps.end_workers()


def configs(*numbers):
    return [SimpleNamespace(digest=f"run{number}", number=number) for number in numbers]


def square(config):
    return {"digest": config.digest, "square": config.number**2}


@pytest.fixture
def store(tmp_path):
    return RecordStore(tmp_path / "store.jsonl")


def test_a_sweep_resumes_repeats_nothing_and_keeps_the_order(store):
    calls = []

    def run(config):
        calls.append(config.number)
        return square(config)

    sweep(configs(2), store, run, progress=False)
    records = sweep(configs(1, 2, 3, 1), store, run, progress=False)
    assert calls == [2, 1, 3]
    assert [record["square"] for record in records] == [1, 4, 9]
    assert sweep(configs(3, 1), store, run, progress=False) == [records[2], records[0]]
    assert calls == [2, 1, 3]


def test_fresh_runs_replace_what_is_recorded(store):
    sweep(configs(1, 2), store, square, progress=False)
    again = sweep(configs(1), store, lambda c: square(c) | {"square": -1}, fresh=True, progress=False)
    assert [record["square"] for record in again] == [-1]
    assert [record["square"] for record in store.read()] == [-1, 4]


def test_what_another_sweep_recorded_meanwhile_counts(store):
    """Both began the run; the other one was faster, and its record differs (in its seconds, say)."""

    def run(config):
        RecordStore(store.path).append(square(config) | {"seconds": 1})
        return square(config) | {"seconds": 2}

    records = sweep(configs(1, 2), store, run, progress=False)
    assert [record["seconds"] for record in records] == [1, 1]
    assert store.read() == records


@pytest.mark.parametrize("jobs", [1, 2])
def test_failed_runs_are_named_and_the_others_recorded(store, jobs):
    def run(config):
        if config.number in (0, 2):
            raise ArithmeticError("no luck")
        return {"digest": config.digest, "square": config.number**2}

    with pytest.raises(RunsFailed) as caught:
        sweep(configs(*range(5)), store, run, jobs=jobs, progress=False)
    first, *lines = str(caught.value).splitlines()
    assert first == "2 of 5 runs failed; the others are recorded:"
    assert sorted("number=0" in line for line in lines) == [False, True]
    assert all(line.endswith("ArithmeticError: no luck") for line in lines)
    assert [record["square"] for record in caught.value.records] == [1, 9, 16]
    assert store.digests() == {"run1", "run3", "run4"}


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_a_run_that_kills_its_worker_fails_alone(store):
    def run(config):
        if config.number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"digest": config.digest, "square": config.number**2}

    with pytest.raises(RunsFailed, match=r"^1 of 8 runs failed.*\n.*number=1.*its worker process died"):
        sweep(configs(*range(8)), store, run, jobs=2, progress=False)
    assert store.digests() == {f"run{number}" for number in range(8)} - {"run1"}


def test_a_worker_that_keeps_much_is_kept(store):
    """Else it would load its data anew and train its classifier again, which takes longer than a run."""
    sweeps.end_workers()

    def run(config):
        import time

        if config.number in (2, 3):  # each worker's first run is where loky measures from
            sys.kept = [*getattr(sys, "kept", []), b"x" * 320_000_000]
            time.sleep(1.2)  # it looks once a second
        return {"digest": config.digest, "worker": os.getpid()}

    records = sweep(configs(*range(8)), store, run, jobs=2, progress=False)
    sweeps.end_workers()
    assert len({record["worker"] for record in records}) <= 2


def test_preparation_comes_first_and_only_if_there_is_work(store):
    seen = []

    def prepare(todo):
        seen.append([config.number for config in todo])
        raise FileNotFoundError("no data")

    sweep(configs(1), store, square, progress=False)
    sweep(configs(1), store, square, progress=False, prepare=prepare)
    with pytest.raises(FileNotFoundError, match="no data"):
        sweep(configs(1, 2), store, square, progress=False, prepare=prepare)
    assert seen == [[2]]
    assert store.digests() == {"run1"}


@pytest.mark.parametrize("jobs", [0, -1, 1.5, True])
def test_an_illegal_number_of_jobs_is_named(store, jobs):
    with pytest.raises(ValueError, match="jobs must be a whole number of at least 1; got"):
        sweep(configs(1), store, square, jobs=jobs, progress=False)
    assert not store.path.exists()


def failing(error):
    raise error


@pytest.mark.parametrize(
    ("work", "code", "said"),
    [
        (lambda: None, 0, ""),
        (lambda: 3, 3, ""),
        (lambda: failing(ValueError("no such profile")), 1, "error: no such profile\n"),
        (lambda: failing(RunsFailed("1 of 2 runs failed", [])), 1, "error: 1 of 2 runs failed\n"),
        (lambda: failing(KeyboardInterrupt()), 130, "stopped; what was finished is recorded"),
        (lambda: signal.raise_signal(signal.SIGTERM), 143, "stopped; what was finished is recorded"),
    ],
)
def test_a_command_answers_with_its_code_and_one_line(work, code, said, capsys):
    before = signal.getsignal(signal.SIGTERM)
    assert command(work) == code
    assert signal.getsignal(signal.SIGTERM) is before
    error = capsys.readouterr().err
    assert error.startswith(said)
    assert error.count("\n") == bool(said)


def test_a_bug_is_not_dressed_up_as_an_error_of_the_user():
    with pytest.raises(AssertionError):
        command(lambda: failing(AssertionError()))


def test_workers_end_when_the_sweep_is_given_up(store, monkeypatch):
    """What ends the sweep here is a full disk."""

    def run(config):
        return {"digest": config.digest, "worker": os.getpid()}

    append, workers = store.append, []

    def full(record, replace=False):
        workers.append(record["worker"])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "append", full)
    with pytest.raises(OSError, match="No space left"):
        sweep(configs(*range(50)), store, run, jobs=2, progress=False)
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)
    monkeypatch.setattr(store, "append", append)
    assert len(sweep(configs(*range(3)), store, run, jobs=2, progress=False)) == 3  # a new pool
    sweeps.end_workers()
