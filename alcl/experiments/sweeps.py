"""The sweep: run what a store does not hold, here or on a cluster, and lose nothing that was finished.

It knows nothing of what a run is. A configuration has a `digest` and can be pickled; a run is a function that makes a
configuration's record, a dict with that digest; the store is a `RecordStore`.

On a cluster the same sweep goes through dask; this process stays the one writer of records:

    dask scheduler                                                     on one machine; it prints its address
    dask worker tcp://host:8786 --nworkers 16 --nthreads 1             on every other, in this environment
    make runs BACKEND=dask SCHEDULER=tcp://host:8786

With Slurm, dask-jobqueue starts both; the sweep may begin at once, and workers join as the queue lets them:

    from dask_jobqueue import SLURMCluster
    cluster = SLURMCluster(cores=16, processes=16, memory="32GB", walltime="08:00:00")
    cluster.scale(jobs=10)
    run_profile("paper", "paper_figures/records", backend="dask", scheduler=cluster.scheduler_address)

Runs are CPU work: these networks are too small to fill a GPU. A study with larger ones would place one worker on each
GPU of a machine, `CUDA_VISIBLE_DEVICES=k dask worker ... --nworkers 1 --nthreads 1`, so that none knows another.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, suppress
from typing import Any

import joblib
from joblib.externals.loky import ProcessPoolExecutor, get_reusable_executor, process_executor
from tqdm.auto import tqdm

from .configs import one_of, whole
from .records import DigestTaken, RecordStore

#: Where a sweep's workers are: processes of this machine, or a cluster of dask's.
BACKENDS = ("loky", "dask")

Record = dict[str, Any]
RunFunction = Callable[[Any], Record]
Outcome = tuple[Record | None, str]  # a record, or None and what went wrong


class RunsFailed(RuntimeError):
    """Runs of a sweep failed; the others are recorded. `records`: those of all runs that have one, in their order."""

    def __init__(self, message: str, records: list[Record]):
        super().__init__(message)
        self.records = records


def check_backend(backend: str, scheduler: str | None) -> None:
    """Raises ValueError for an unknown backend, one that is not installed, or one without its scheduler."""
    one_of("backend", backend, BACKENDS)
    if backend == "dask" and importlib.util.find_spec("distributed") is None:
        raise ValueError("backend 'dask' needs the package distributed, which is not installed")
    if backend == "dask" and not scheduler:
        raise ValueError("scheduler must be the address of a dask scheduler, such as tcp://host:8786; got none")
    if backend == "loky" and scheduler:
        raise ValueError(f"scheduler belongs to the backend dask; got {scheduler!r} with loky")


def sweep(
    runs: Iterable[Any],
    store: RecordStore,
    run: RunFunction,
    jobs: int = 1,
    fresh: bool = False,
    progress: bool = True,
    description: str = "runs",
    backend: str = "loky",
    scheduler: str | None = None,
    prepare: Callable[[Sequence[Any]], Any] | None = None,
) -> list[Record]:
    """Run what `store` does not hold yet, in the order given, and append each record as it completes.

    Killed at any moment, it loses at most the runs in flight; called again, it resumes. Returns the records of all
    `runs`, in their order.

    Args:
        runs: configurations; repeated digests run once.
        store: where records go. Two sweeps on one store do no harm: a run that both began is recorded once.
        run: configuration -> record. With more than one job it is pickled (by cloudpickle: a function that no module
            has, as in a notebook, goes along whole).
        jobs: worker processes of this machine, one thread each; a cluster uses all it has. With 1, this process works.
        fresh: run also what is recorded, and replace those records.
        progress: a bar with the time left (on a terminal; TQDM_DISABLE=1 silences it).
        backend, scheduler: "loky" for processes here; "dask" for the cluster whose scheduler has this address.
            Its workers need this package and the data sets. A lost worker costs time, not records.
        prepare: called with the runs that are to be done, if any, before the first; what it raises ends the sweep.

    Raises:
        ValueError: see `check_backend`, or jobs; nothing has been run then.
        RunsFailed: after everything else has run, if runs failed; it names them.
    """
    check_backend(backend, scheduler)
    whole("jobs", jobs, at_least=1)
    runs = list({config.digest: config for config in runs}.values())
    there = {record["digest"]: record for record in store.read()}
    todo = [config for config in runs if fresh or config.digest not in there]
    failed = []
    if todo:
        if prepare is not None:
            prepare(todo)
        with closing(_outcomes(run, todo, jobs, backend, scheduler)) as outcomes:
            for config, (record, error) in tqdm(
                outcomes, total=len(todo), desc=description, disable=None if progress else True
            ):
                if record is None:
                    failed.append(f"  {config}: {error}")
                else:
                    there[config.digest] = _keep(store, record, replace=fresh)
    done = [there[config.digest] for config in runs if config.digest in there]
    if failed:
        lines = "\n".join(failed)
        raise RunsFailed(f"{len(failed)} of {len(todo)} runs failed; the others are recorded:\n{lines}", done)
    return done


def _keep(store: RecordStore, record: Record, replace: bool) -> Record:
    """Append a record, unless another sweep on this store was faster: then that sweep's record counts."""
    try:
        store.append(record, replace=replace)
    except DigestTaken:
        return next(other for other in store.read() if other["digest"] == record["digest"])
    return record


def _attempt(run: RunFunction, config: Any) -> Outcome:
    try:
        return run(config), ""
    except Exception as error:
        # One failed run must not lose the others; the sweep reports it when everything else has run.
        return None, f"{type(error).__name__}: {error}"


def _work(run: RunFunction, config: Any) -> Outcome:
    import torch  # here: a sweep of other runs needs none

    torch.set_num_threads(1)  # one thread a process: the processes are the parallelism
    return _attempt(run, config)


def _outcomes(
    run: RunFunction, todo: Sequence[Any], jobs: int, backend: str, scheduler: str | None
) -> Iterator[tuple[Any, Outcome]]:
    """Every configuration with its outcome, as workers finish."""
    if backend == "loky" and jobs == 1:  # no pool: the caller's process and thread count do the work
        return ((config, _attempt(run, config)) for config in todo)
    if backend == "loky":
        return _processes(run, todo, jobs)
    return _dask(run, todo, scheduler)


# --- workers on this machine ----------------------------------------------------------------------------------------

#: Seconds that idle workers wait for another sweep.
_IDLE = 300
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_DIED = "its worker process died, and again when it ran alone (killed, or out of memory)"
_pool: ProcessPoolExecutor | None = None


def _processes(run: RunFunction, todo: Sequence[Any], jobs: int) -> Iterator[tuple[Any, Outcome]]:
    """A worker that dies breaks its whole pool, and a new one goes on. What the broken one had in hand is run again at
    the end, one by one: so a run that kills its worker is known, and fails alone."""
    waiting, suspects = deque(todo), deque()
    in_hand: dict[Future, Any] = {}
    alone = False
    try:
        while waiting or in_hand or suspects:
            if not waiting and not in_hand:
                alone = True
                waiting.append(suspects.popleft())
            pool = _new_or_same_pool(jobs)
            with suppress(BrokenProcessPool), _undisturbed():  # if it broke since, those in hand will say so
                while waiting and len(in_hand) < 2 * jobs:
                    in_hand[pool.submit(_work, run, waiting[0])] = waiting[0]
                    waiting.popleft()
            for future in wait(in_hand, return_when=FIRST_COMPLETED).done:
                config = in_hand.pop(future)
                try:
                    outcome = future.result()
                except BrokenProcessPool:
                    if not alone:
                        suspects.append(config)
                        continue
                    outcome = None, _DIED
                yield config, outcome
    except BaseException:  # an interrupt, a full disk, a sweep that nobody wants any more
        end_workers()
        raise


def _new_or_same_pool(jobs: int) -> ProcessPoolExecutor:
    """The pool of this process: that of the last call, unless it is broken or had other workers."""
    global _pool
    _pool = get_reusable_executor(jobs, timeout=_IDLE, initializer=_begin, initargs=(os.getpid(),), env=_ONE_THREAD)
    return _pool


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C waits, here; workers that are started meanwhile never see it. It is their parent's to deal with."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # to start it with the first worker would lift the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(parent: int) -> None:
    """What a worker does first: it will end with its parent, also where that was killed and could end nobody."""
    # loky replaces a worker that has grown by 300 MB since its first run, as if it leaked. Ours keep what the next run
    # needs, data, noise and a trained classifier, and a new one would spend minutes on it. It has no option for that.
    process_executor._MAX_MEMORY_LEAK_SIZE = math.inf
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)


def end_workers() -> None:
    """Kill this process's workers on this machine, whatever they are at."""
    if _pool is not None:
        _pool.shutdown(wait=True, kill_workers=True)


# --- workers on a cluster -------------------------------------------------------------------------------------------
# Every run is a task of its own, and a cluster is given all tasks at once: workers that come later find work, an idle
# one takes it from a busy one, and what a lost one had in hand goes to another.


def _numbered(run: RunFunction, number: int, config: Any) -> tuple[int, Outcome]:
    return number, _work(run, config)


def _dask(run: RunFunction, todo: Sequence[Any], scheduler: str | None) -> Iterator[tuple[Any, Outcome]]:
    from distributed import Client

    tasks = (joblib.delayed(_numbered)(run, number, config) for number, config in enumerate(todo))
    # Ten minutes for the first worker: a cluster's queue may be long.
    with (
        Client(scheduler, set_as_default=False) as client,
        joblib.parallel_config("dask", client=client, n_jobs=-1, wait_for_workers_timeout=600),
    ):
        parallel = joblib.Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="all")
        for number, outcome in parallel(tasks):
            yield todo[number], outcome


# --- command lines --------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that every command that sweeps has: records, jobs, backend, scheduler."""
    parser.add_argument("--records", default="paper_figures/records", help="folder of the record stores")
    parser.add_argument("--jobs", type=int, default=1, help="worker processes, one thread each")
    parser.add_argument("--backend", default="loky", help=f"where the workers are: one of {', '.join(BACKENDS)}")
    parser.add_argument("--scheduler", help="address of the cluster's scheduler, such as tcp://host:8786")


def how(options: argparse.Namespace) -> dict[str, Any]:
    """What `add_arguments` read, as arguments of a sweep."""
    return {name: getattr(options, name) for name in ("jobs", "backend", "scheduler")}


def command(work: Callable[[], int | None]) -> int:
    """Do `work` as a command does: its exit code, with one line on stderr for what is wrong.

    Interrupted by Ctrl-C or SIGTERM it ends its workers at once and returns 130 or 143; what was finished is recorded.
    """

    def terminated(number: int, _) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second one ends this process without any ado
        raise SystemExit(128 + number)

    in_main = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGTERM, terminated) if in_main else None
    try:
        return work() or 0
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != 143:
            raise
        end_workers()
        print("stopped; what was finished is recorded, and the same command goes on from there", file=sys.stderr)
        return 143 if isinstance(stop, SystemExit) else 130
    except (ValueError, OSError, LookupError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, previous)


def profile_command(
    arguments: Sequence[str] | None,
    prog: str,
    description: str,
    profiles: Mapping[str, Callable[[], Iterable[Any]]],
    default: str,
    store: Callable[[str], RecordStore],
    sweep: Callable[..., Any],
) -> int:
    """The command line of a study whose profiles are lists of runs: sweep(runs, store(folder), jobs=, fresh=, ...)."""
    import torch

    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--profile", default=default, help=f"one of {', '.join(profiles)}")
    parser.add_argument("--fresh", action="store_true", help="run again what is recorded")
    add_arguments(parser)
    options = parser.parse_args(arguments)

    def work() -> None:
        one_of("profile", options.profile, profiles)
        torch.set_num_threads(1)
        sweep(profiles[options.profile](), store(options.records), fresh=options.fresh, **how(options))

    return command(work)
