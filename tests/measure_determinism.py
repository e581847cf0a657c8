"""Measure what metrics of one run depend on beside its configuration; `make determinism` writes determinism.json.

On one machine and thread count a run repeats bit by bit (tested). Here the same runs are repeated with two threads, and
with the vector instructions switched off, which makes this processor sum like another one. Sums in another order differ
in the last bits, and training amplifies them. The tolerance of `make audit` is held against these numbers.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from alcl.experiments.reconstruction import method_run, run

TABLE = Path(__file__).with_name("determinism.json")
OTHER_PROCESSOR = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"}
SETTINGS = {"two threads": (2, {}), "another processor": (1, OTHER_PROCESSOR)}
SHORT = {"epochs": 10}
LARGER = {"epochs": 2, "n_train": 2000, "n_test": 500}
RUNS = [
    ("digits", "mse", "high", 0, SHORT),
    ("digits", "alcl", "high", 0, {}),
    ("digits_rgb", "mse", "high", 1, SHORT),
    ("digits_rgb", "alcl", "extreme", 1, SHORT),
    ("mnist", "mse", "high", 0, LARGER),
    ("mnist", "alcl", "high", 0, LARGER),
]


def metrics(threads, variables):
    """The metrics of every run, in a process of its own with these environment variables."""
    environment = os.environ | variables | {"OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, __file__, "--once", str(threads)]
    out = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return json.loads(out.splitlines()[-1])


def main():
    reference = metrics(1, {})
    if metrics(1, {}) != reference:
        sys.exit("error: a run does not even repeat under the same conditions")
    table = {"torch": torch.__version__, "runs": [f"{d}/{v}/{m} seed {s} {c}" for d, m, v, s, c in RUNS]}
    table["metrics"] = reference
    for name, setting in SETTINGS.items():
        other = metrics(*setting)
        table[name] = [{k: abs(a[k] - b[k]) for k in a} for a, b in zip(reference, other, strict=True)]
    TABLE.write_text(json.dumps(table, indent=1) + "\n", "utf-8")
    print(TABLE.read_text("utf-8"))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--once"]:
        torch.set_num_threads(int(sys.argv[2]))
        print(json.dumps([run(method_run(m, d, v, s, **c))["metrics"] for d, m, v, s, c in RUNS]))
    else:
        main()
