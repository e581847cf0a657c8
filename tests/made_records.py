"""Records that no training made, with known answers: whole grids of them."""

import itertools
import math
from functools import cache

import numpy as np

from alcl.experiments.levels import LEVELS
from alcl.experiments.protocol import BENCHMARK, GCL_ALPHAS, GCL_BETAS, TUNING_SEEDS
from alcl.experiments.reconstruction import method_run


@cache
def regular(method, dataset, level, seed, *changes):
    config = method_run(method, dataset, level, seed, **dict(changes))
    return config.digest, config.config()


def record(method, dataset="digits", level="high", seed=0, accuracy=0.5, psnr=10.0, ssim=0.5, seconds=1.0, **changes):
    digest, config = regular(method, dataset, level, seed, *sorted(changes.items()))
    metrics = {"accuracy": accuracy, "psnr": psnr, "ssim": ssim}
    history = {"loss": [1.0], "alpha": [2.0, 1.5], "beta": [1.0, 0.1]} if config["loss"] == "alcl" else {"loss": [1.0]}
    return {
        "digest": digest,
        "config": config,
        "metrics": metrics,
        "history": history,
        "seconds": {"fit": seconds},
    }


#: For which setting GCL's tuning is made to come out, by measure; the same in every condition except where a test says.
BEST = {"accuracy": (2.0, 0.5), "psnr": (4.0, 1.0)}


def tuning(dataset="digits", level="high", best=BEST, seconds=1.0):
    """GCL's tuning records of a condition: each measure falls with the distance from its best setting."""
    found = []
    for alpha, beta in itertools.product(GCL_ALPHAS, GCL_BETAS):
        off = {m: abs(math.log(alpha / a)) + abs(math.log(beta / b)) for m, (a, b) in best.items()}
        metrics = {"accuracy": 0.9 - 0.1 * off["accuracy"], "psnr": 20.0 - off["psnr"]}
        found.append(
            record(
                "gcl",
                dataset,
                level,
                TUNING_SEEDS[0],
                **metrics,
                seconds=seconds,
                alpha=alpha,
                beta=beta,
                evaluate_on="validation",
            )
        )
    return found


def world(
    better, datasets=BENCHMARK, seeds=range(10), methods=("mse", "alcl", "gcl"), spread=None, seconds=None, shared=0.05
):
    """A whole grid of records. better(method, dataset, level): accuracy above 0.5, which is PSNR above 10 dB in tens.

    Seeds move all methods together by up to `shared`, and each by itself by `spread[method]` (default 0.002).
    """
    spread, seconds, found = spread or {}, seconds or {}, []
    rng = np.random.default_rng(0)
    for dataset, level in itertools.product(datasets, LEVELS):
        found += tuning(dataset, level)
        common = rng.uniform(0, shared, 100)
        for method in methods:
            own = spread.get(method, 0.002) * rng.standard_normal(100)
            for seed in seeds:
                value = 0.5 + better(method, dataset, level) + common[seed] + own[seed]
                numbers = {"accuracy": value, "psnr": 10 * value, "seconds": seconds.get(method, 1.0)}
                settings = [{"alpha": a, "beta": b} for a, b in BEST.values()] if method == "gcl" else [{}]
                found += [record(method, dataset, level, seed, **numbers, **setting) for setting in settings]
    return found


def as_claimed(method, dataset, level):
    """The world that the abstract describes."""
    gain = {"none": 0.0, "low": 0.001, "moderate": 0.03, "high": 0.06, "extreme": 0.05}[level]
    return {"alcl": gain, "gcl": 0.2 * gain}.get(method, 0.0)


FEWER = {"mse": 0.002, "gcl": 0.002, "alcl": 0.0005}


def claimed_world(**changes):
    return world(as_claimed, **{"spread": FEWER, "shared": 0.001} | changes)
