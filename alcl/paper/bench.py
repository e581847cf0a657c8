"""`make bench`: what the loss costs beside its peers, measured in one run on one machine.

Peers take turns, block by block, so that a ratio of two of them is fair on a machine that is busy with other things
too; of all blocks the median counts. Written to `paper_figures/`: records/bench.json (every number, with the machine),
a table of the ratios, and two figures.

    python -m alcl.paper.bench            about three minutes
    python -m alcl.paper.bench --draw     the table and the figures again, from bench.json
    python -m alcl.paper.bench --quick    seconds, small shapes, nothing worth reading: for tests
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import math
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.benchmark import Timer

from ..censored import CensoredALCLoss, TobitLoss
from ..comparators import BarronLoss
from ..contaminated import ContaminatedALCLoss
from ..experiments.analysis import median_interval
from ..experiments.models import make_model
from ..experiments.training import fit
from ..losses import ALCLoss, optimizer_groups
from . import figures, manifest, parameters

SHAPES = ((128, 784), (128, 3, 32, 32), (64, 3, 224, 224))
#: 784-256-32-256-784, a batch of 128: the training step of the experiments' gray images.
NETWORK = {"image": (1, 28, 28), "hidden": 256, "code": 32, "batch": 128}
QUICK_SHAPES, QUICK_NETWORK = ((8, 16),), {"image": (1, 8, 8), "hidden": 8, "code": 4, "batch": 8}
SOURCE = "alcl.paper.bench"


class PlainALCL(nn.Module):
    """ALCL as one writes it down, for plain autograd: the formula and its normaliser, kappa = 1."""

    def __init__(self):
        super().__init__()
        self.raw_alpha, self.raw_beta = nn.Parameter(torch.tensor(0.54)), nn.Parameter(torch.tensor(0.54))

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        alpha, beta = 1 + nn.functional.softplus(self.raw_alpha), 1e-3 + nn.functional.softplus(self.raw_beta)
        log_z = (2 * torch.pi * beta / (alpha * torch.sin(torch.pi / alpha))).log()
        return torch.log1p(((input - target).abs() / beta) ** alpha).mean() + log_z


class TorchGaussian(nn.Module):
    """torch's own Gaussian likelihood with a learned variance, one for all residuals."""

    def __init__(self):
        super().__init__()
        self.log_variance = nn.Parameter(torch.zeros(()))

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return nn.functional.gaussian_nll_loss(input, target, self.log_variance.exp().expand(input.shape))


class OfOneImage(nn.Module):
    """ALCL of the first image of a batch: what it costs whatever the number of residuals."""

    def __init__(self):
        super().__init__()
        self.loss = ALCLoss()

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return self.loss(input[:1], target[:1])


PEERS: dict[str, Callable[[], nn.Module]] = {
    "MSE": nn.MSELoss,
    "Smooth L1": nn.SmoothL1Loss,
    "Huber": nn.HuberLoss,
    "torch's GaussianNLL": TorchGaussian,
    "ALCL": ALCLoss,
    "ALCL, plain formula": PlainALCL,
    "Barron": BarronLoss,
    "ALCL, contaminated": ContaminatedALCLoss,
    # A fifth of these targets is at a limit. "all learned": the fraction too, and tails by a continued fraction.
    "ALCL, censored": functools.partial(CensoredALCLoss, learn="beta"),
    "ALCL, censored, all learned": functools.partial(CensoredALCLoss, eps=0.1),
    "Tobit": TobitLoss,
}
BASE, OURS, COMPILED = "MSE", "ALCL", "ALCL, compiled"
SHORT = "ALCL, of one image"
#: Other forms of the loss: shape of the residuals, of the parameters, reduction, memory format.
FORMS: dict[str, tuple[tuple[int, ...], tuple[int, ...], str, torch.memory_format]] = {
    "per channel": ((128, 3, 32, 32), (3, 1, 1), "mean", torch.contiguous_format),
    "per channel, channels last": ((128, 3, 32, 32), (3, 1, 1), "mean", torch.channels_last),
    "per pixel of a gray image": ((128, 784), (784,), "mean", torch.contiguous_format),
    "per pixel of a color image": ((128, 3, 32, 32), (3, 32, 32), "mean", torch.contiguous_format),
    "of each residual": ((128, 784), (), "none", torch.contiguous_format),
}


# --- measuring ------------------------------------------------------------------------------------------------------


def interleaved(
    calls: Mapping[str, Callable[[], Any]], threads: int = 1, rounds: int = 9, seconds: float = 0.02
) -> dict[str, float]:
    """Median milliseconds of every call; they take turns in blocks of about `seconds` (0: one call a block)."""
    timers = {name: Timer("f()", globals={"f": call}, num_threads=threads) for name, call in calls.items()}
    number = {name: max(1, int(seconds / timer.timeit(2).median)) if seconds else 1 for name, timer in timers.items()}
    blocks: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, timer in timers.items():
            blocks[name].append(timer.timeit(number[name]).median * 1e3)
    return {name: statistics.median(times) for name, times in blocks.items()}


def interval_of_ratio(
    calls: Mapping[str, Callable[[], Any]], rounds: int
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """As `interleaved`, one call a block; and {name: {"low", "high"}} of an exact 95 % interval for the median of its
    ratios to `BASE`, block by block."""
    blocks: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, time in interleaved(calls, rounds=1, seconds=0).items():
            blocks[name].append(time)
    ratios = {name: np.divide(times, blocks[BASE]) for name, times in blocks.items() if name != BASE}
    found = {name: dict(zip(("low", "high"), median_interval(own), strict=True)) for name, own in ratios.items()}
    return {name: statistics.median(times) for name, times in blocks.items()}, found


def loss_call(criterion: Callable[[Tensor, Tensor], Tensor], shape: Sequence[int]) -> Callable[[], None]:
    """Forward and backward of a loss alone; residuals with heavy tails, as the experiments' are."""
    g = torch.Generator().manual_seed(0)
    input = torch.rand(shape, generator=g).requires_grad_()
    target = input.detach() + 0.1 * torch.empty(shape).cauchy_(generator=g)
    if isinstance(criterion, nn.Module):
        criterion.eval()  # nobody trains it here, which in training it would remark upon

    def call() -> None:
        input.grad = None
        criterion(input, target).backward()

    return call


def form_call(criterion: nn.Module, shape: Sequence[int], layout: torch.memory_format) -> Callable[[], None]:
    """`loss_call` with residuals laid out in memory as given; where there is a value for each, their mean."""
    g = torch.Generator().manual_seed(0)
    input = torch.rand(shape, generator=g)
    target = input + 0.1 * torch.empty(shape).cauchy_(generator=g)
    input, target = (x.contiguous(memory_format=layout) for x in (input, target))
    input.requires_grad_()
    criterion.eval()

    def call() -> None:
        input.grad = None
        criterion(input, target).mean().backward()

    return call


def step_call(criterion: nn.Module, network: Mapping[str, Any], compiled: bool = False) -> Callable[[], None]:
    """One step of training as `fit` makes it; or with network and loss compiled into one."""
    model = make_model("mlp", network["image"], network["hidden"], network["code"], seed=0)
    groups = optimizer_groups(model, criterion, lr=1e-3)
    optimizer = torch.optim.Adam([p for group in groups for p in group["params"]], fused=True)
    images = torch.rand(network["batch"], *network["image"], generator=torch.Generator().manual_seed(0))
    target = images + 0.1 * torch.randn(images.shape, generator=torch.Generator().manual_seed(1))

    forward = lambda: criterion(model(images), target)  # noqa: E731
    forward = torch.compile(forward, fullgraph=True) if compiled else forward

    def call() -> None:
        optimizer.zero_grad(set_to_none=True)
        forward().backward()
        optimizer.step()

    return call


def multiplications_call(network: Mapping[str, Any]) -> Callable[[], None]:
    """The matrix multiplications of a step and nothing else: the bound that no training loop can beat."""
    pixels = torch.Size(network["image"]).numel()
    widths = (pixels, network["hidden"], network["code"], network["hidden"], pixels)
    ins = [torch.randn(network["batch"], n) for n in widths[:-1]]
    outs = [torch.randn(network["batch"], n) for n in widths[1:]]
    weights = [torch.randn(m, n) for n, m in itertools.pairwise(widths)]

    def call() -> None:
        for layer, (x, y, w) in enumerate(zip(ins, outs, weights, strict=True)):
            _ = x @ w.T  # forward
            _ = y.T @ x  # gradient of the weights
            if layer:
                _ = y @ w  # gradient of the layer's input; images need none

    return call


def epoch_call(make: Callable[[], nn.Module], network: Mapping[str, Any], examples: int) -> Callable[[], None]:
    """One epoch of `fit`, everything included."""
    images = torch.rand(examples, *network["image"], generator=torch.Generator().manual_seed(0))

    def call() -> None:
        model = make_model("mlp", network["image"], network["hidden"], network["code"], seed=0)
        fit(model, make(), images, images, epochs=1, batch_size=network["batch"], lr=1e-3)

    return call


def peak_megabytes(call: Callable[[], Any]) -> float:
    """Most memory, in MiB, that tensors made during a second `call` take at once, by torch's own account of them.

    Not the process's resident memory: what a system takes back or an allocator keeps would be counted with it.
    """
    call()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        call()
    with tempfile.TemporaryDirectory() as folder:
        profile.export_chrome_trace(str(Path(folder) / "trace.json"))
        events = json.loads((Path(folder) / "trace.json").read_text())["traceEvents"]
    events = sorted((e for e in events if e["name"] == "[memory]"), key=lambda event: event["ts"])
    return max(itertools.accumulate((e["args"]["Bytes"] for e in events), initial=0)) / 2**20


def sweep_seconds(runs: int, epochs: int) -> dict[int, float]:
    """Seconds of one small sweep at one process and at two, worker processes started and warm."""
    from ..experiments import reconstruction  # here: nothing else needs data sets
    from ..experiments.records import RecordStore

    def seconds(jobs: int, seeds: range) -> float:
        work = [reconstruction.method_run("alcl", "digits", "high", seed, epochs=epochs) for seed in seeds]
        with tempfile.TemporaryDirectory() as folder:
            store = RecordStore(Path(folder) / "bench.jsonl")
            call = lambda: reconstruction.sweep(work, store, jobs, fresh=True, progress=False)  # noqa: E731
            return Timer("f()", globals={"f": call}, num_threads=1).timeit(1).median

    for jobs in (1, 2):
        seconds(jobs, range(2 * jobs))
    return {jobs: seconds(jobs, range(runs)) for jobs in (1, 2)}


# --- the benchmark --------------------------------------------------------------------------------------------------


def run(quick: bool = False, progress: Callable[[str], None] = print) -> dict[str, Any]:
    """Every measurement: {"machine": ..., "rows": [{"what", "loss", "shape", "threads", "value", "unit", ...}]}.

    `ratio` in a row is to MSE in the same round of blocks; for a step, `bound` is the ratio to the bare matrix
    multiplications.
    """
    torch.manual_seed(0)
    shapes, network = (QUICK_SHAPES, QUICK_NETWORK) if quick else (SHAPES, NETWORK)
    threads = (1,) if quick or (os.cpu_count() or 1) < 2 else (1, 2)
    timing = {"rounds": 2, "seconds": 0} if quick else {}
    before, rows = torch.get_num_threads(), []

    def add(
        what: str,
        values: Mapping[str, float],
        unit: str = "ms",
        intervals: Mapping[str, Mapping[str, float]] | None = None,
        **more: Any,
    ) -> None:
        for name, value in values.items():
            ratio = value / values[BASE] if values.get(BASE) else None
            rows.append({"what": what, "loss": name, **more, "value": value, "unit": unit, "ratio": ratio})
            rows[-1] |= (intervals or {}).get(name, {})
        progress(f"{what} {more}: " + ", ".join(f"{name} {value:.4g} {unit}" for name, value in values.items()))

    try:
        for count in threads:
            torch.set_num_threads(count)
            for shape in shapes:
                calls = {name: loss_call(make(), shape) for name, make in PEERS.items()}
                if not quick and (compiled := compiled_call(shape)) is not None:
                    calls[COMPILED] = compiled
                large = torch.Size(shape).numel() > 1e6
                few = {"rounds": 3, "seconds": 0} if large else timing
                add("loss", interleaved(calls, count, **few), shape=list(shape), threads=count)
            makers = {BASE: PEERS[BASE], OURS: PEERS[OURS], SHORT: OfOneImage, "Barron": PEERS["Barron"]}
            steps = {name: step_call(make(), network) for name, make in makers.items()}
            steps["matrix multiplications"] = multiplications_call(network)
            many = timing or {"rounds": 31}  # what is compared differs by a few percent
            add("step", interleaved(steps, count, **many), threads=count)
            for form, (shape, of_parameters, reduction, layout) in FORMS.items():
                shape, of_parameters = (x[-2:] if quick else x for x in (shape, of_parameters))
                layout = torch.contiguous_format if quick else layout
                makes = {
                    BASE: nn.MSELoss(reduction=reduction),
                    OURS: ALCLoss(parameter_shape=of_parameters, reduction=reduction),
                }
                calls = {name: form_call(criterion, shape, layout) for name, criterion in makes.items()}
                add("form", interleaved(calls, count, **timing), form=form, shape=list(shape), threads=count)
            if not quick and (steps := compiled_steps(network)):
                add("compiled step", interleaved(steps, count, **timing), threads=count)
        torch.set_num_threads(1)
        examples = 64 if quick else 10_000
        epochs = {name: epoch_call(PEERS[name], network, examples) for name in (BASE, OURS)}
        times, intervals = interval_of_ratio(epochs, rounds=6 if quick else 11)
        add("epoch", times, intervals=intervals, threads=1)
        for exponent in range(3, 5) if quick else range(4, 9):
            calls = {name: loss_call(PEERS[name](), (10**exponent,)) for name in (BASE, OURS)}
            times = interleaved(calls, 1, **(timing if exponent < 7 else {"rounds": 3, "seconds": 0}))
            add("elements", times, shape=[10**exponent], threads=1)
            del calls
        shape = shapes[-1]
        buffer = torch.Size(shape).numel() * 4 / 2**20
        memory = {name: peak_megabytes(loss_call(make(), shape)) for name, make in PEERS.items()}
        add("memory", memory, unit="MiB", shape=list(shape), residual_MiB=buffer)
        runs, length = (2, 1) if quick else (12, 20)
        sweeps = sweep_seconds(runs, length)
        add("sweep", {f"{jobs} process{'es' * (jobs > 1)}": runs / s for jobs, s in sweeps.items()}, unit="runs/s")
    finally:
        torch.set_num_threads(before)
    return {"machine": machine(), "quick": quick, "rows": rows}


def compiled_call(shape: Sequence[int]) -> Callable[[], None] | None:
    """The compiled loss; None where there is no compiler."""
    torch._dynamo.reset()
    call = loss_call(torch.compile(ALCLoss(), fullgraph=True), shape)
    try:
        call()
    except Exception as error:  # inductor's errors have no common type
        print(f"not compiled: {type(error).__name__}", file=sys.stderr)
        return None
    return call


def compiled_steps(network: Mapping[str, Any]) -> dict[str, Callable[[], None]]:
    """Training steps compiled as a whole; none where there is no compiler."""
    torch._dynamo.reset()
    steps = {name: step_call(PEERS[name](), network, compiled=True) for name in (BASE, OURS)}
    try:
        for step in steps.values():
            step()
    except Exception as error:  # inductor's errors have no common type
        print(f"not compiled: {type(error).__name__}", file=sys.stderr)
        return {}
    return steps


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        model = next((x.split(":")[1].strip() for x in info.read_text().splitlines() if "model name" in x), model)
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "torch": torch.__version__.split("+")[0],
        "python": platform.python_version(),
        "system": platform.system(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none: no GPU was measured",
    }


def summary(result: Mapping[str, Any]) -> pd.DataFrame:
    """The targets and what was measured on one thread and, where it was, on two; a ratio a row."""
    rows = pd.DataFrame(result["rows"])
    one, two = _ratios(rows, 1), _ratios(rows, 2)
    entries = [(name, target, ratio, two.get(name, ("", math.nan))[1]) for name, (target, ratio) in one.items()]
    return pd.DataFrame(entries, columns=["ratio", "target", "measured", "two_threads"])


def _ratios(rows: pd.DataFrame, threads: int) -> dict[str, tuple[str, float]]:
    """Ratio -> its target, and what was measured on so many threads; nothing for what was not."""
    once = rows.what.isin(["epoch", "memory", "elements", "sweep"])  # on one thread a process
    rows = rows[(rows.threads == threads) | (once & (threads == 1))]

    def value(what: str, loss: str, column: str = "ratio") -> float:
        own = rows[(rows.what == what) & (rows.loss == loss)]
        return float(own[column].iloc[0]) if len(own) else float("nan")

    loss, step = value("loss", OURS), value("step", OURS)
    found = {
        "loss over MSE, eager": ("at most 3", loss),
        "plain formula over loss, eager": ("at least 3", value("loss", "ALCL, plain formula") / loss),
        "loss over MSE, compiled": ("at most 3", value("loss", COMPILED)),
        "Barron's loss over loss, eager": ("", value("loss", "Barron") / loss),
    }
    for name in PEERS:
        if name.startswith(f"{OURS}, c"):
            found[f"{name.partition(', ')[2]} over loss, eager"] = ("at most 1.5", value("loss", name) / loss)
    found |= {
        "training step over MSE's": ("at most 1.05", step),
        "the same with the loss of one image alone": ("", value("step", SHORT)),
        "step over its matrix multiplications": (
            "at most 1.4",
            value("step", OURS, "value") / value("step", "matrix multiplications", "value"),
        ),
        "compiled training step over MSE's": ("at most 1.05", value("compiled step", OURS)),
        "epoch over MSE's": ("", value("epoch", OURS)),
    }
    if threads == 1:
        residual = rows.residual_MiB.dropna().iloc[0] if "residual_MiB" in rows else float("nan")
        extra = (value("memory", OURS, "value") - value("memory", BASE, "value")) / residual
        sweep = list(rows[rows.what == "sweep"].value)
        growth = rows[(rows.what == "elements") & (rows.loss == OURS)]
        rates = [v / s[0] for v, s in zip(growth.value, growth["shape"], strict=True)][-3:]
        found |= {
            "extra memory over MSE, in residuals": ("at most 2", extra),
            "two processes over one": ("at least 1.8", sweep[1] / sweep[0]),
            "time an element, largest over smallest of the last three sizes": ("about 1", max(rates) / min(rates)),
        }
    if "form" in rows:  # records of an earlier version have none
        ours = rows[(rows.what == "form") & (rows.loss == OURS)]
        found |= {f"{f}, over MSE": ("at most 10", float(r)) for f, r in zip(ours.form, ours.ratio, strict=True)}
    return {name: (target, ratio) for name, (target, ratio) in found.items() if ratio == ratio}


def draw(result: Mapping[str, Any]) -> tuple[Figure, Figure]:
    """Time per residual against how many there are, and cost beside the peers at every shape."""
    figures.use_theme()
    rows = pd.DataFrame(result["rows"])
    looks = {BASE: figures.COLORS["mse"], OURS: figures.COLORS["alcl"], "Barron": figures.COLORS["barron"]}
    looks |= {"ALCL, contaminated": figures.COLORS["contaminated_alcl"], "Tobit": figures.COLORS["tobit"]}
    looks |= dict.fromkeys(("ALCL, censored", "ALCL, censored, all learned"), figures.COLORS["censored_alcl"])

    sizes = Figure(figsize=(7.0, 3.2))
    ax = sizes.subplots()
    for name in (BASE, OURS):
        own = rows[(rows.what == "elements") & (rows.loss == name)]
        counts = np.array([shape[0] for shape in own["shape"]])
        ax.plot(counts, 1e6 * own.value / counts, marker="o", color=looks[name], label=name)
    for count, value, ratio in zip(counts, 1e6 * own.value / counts, own.ratio, strict=True):
        away = (0, 7) if ratio > 1 else (0, -15)  # from MSE's line
        ax.annotate(f"×{ratio:.1f}", (count, value), away, textcoords="offset points", ha="center", color=looks[OURS])
    ax.set(xscale="log", yscale="log", xlabel="residuals", ylabel="forward and backward,\nns per residual")
    ax.margins(y=0.2)
    figures.direct_label(ax)
    times = f"{own.ratio.min():.1f} to {own.ratio.max():.1f} times MSE's time"
    figures.headline(sizes, f"The loss alone takes {times}, depending on how many residuals there are")

    beside = Figure(figsize=(7.0, 3.4))
    left, right = beside.subplots(1, 2, width_ratios=(3, 2))
    alone = rows[(rows.what == "loss") & (rows.threads == 1)]
    alone = alone.assign(shape=[" × ".join(map(str, shape)) for shape in alone["shape"]])
    names = list(alone.groupby("loss")["ratio"].max().sort_values(ascending=False).index)
    for marker, (shape, part) in zip("ovsD", alone.groupby("shape", sort=False), strict=False):
        for loss, ratio in zip(part.loss, part.ratio, strict=True):
            left.plot(ratio, names.index(loss), marker, color=looks.get(loss, "0.5"), ms=6)
        left.plot([], [], marker, color="0.3", label=shape)
    left.axvline(1, color="0.6", lw=0.8, zorder=0)
    left.set_yticks(range(len(names)), names)
    left.set(xscale="log", xlabel="time over MSE's", title="The loss alone")
    left.set_xticks(ticks := [1, 3, 10, 30], [str(tick) for tick in ticks])
    left.minorticks_off()
    beside.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=3)
    steps = rows[(rows.what == "step") & (rows.threads == 1) & (rows.loss != SHORT)].sort_values("ratio")[::-1]
    bars = right.barh(steps.loss, steps.ratio, color=[looks.get(name, "0.7") for name in steps.loss])
    right.bar_label(bars, fmt="%.2f", padding=3)
    right.set(xlabel="time over MSE's", xlim=(0, 1.25 * steps.ratio.max()), title="A training step")
    ours, step = (part.loc[part.loss == OURS, "ratio"] for part in (alone, steps))
    costs = f"{step.max():.2f} times MSE's time, the loss alone up to {ours.max():.1f} times"
    figures.headline(beside, f"A training step takes {costs}")
    return sizes, beside


def record_path() -> Path:
    """Where the last benchmark is kept: it is a measurement, and no figure can be made again without it."""
    return parameters.figures_dir() / "records" / "bench.json"


def write(result: Mapping[str, Any]) -> Path:
    """The record, the table and the figures, into `figures_dir()`. Returns the record's path."""
    path = record_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    sizes, beside = draw(result)
    origin = {"notebook": SOURCE, "parameters": result["machine"]}
    manifest.save(sizes, "fig11a_elements", **origin)
    manifest.save(beside, "fig11b_peers", **origin)
    manifest.save_table(summary(result), "table11_speed", **origin)
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m alcl.paper.bench", description="What the loss costs beside its peers."
    )
    parser.add_argument("--quick", action="store_true", help="small shapes, few rounds: for tests")
    parser.add_argument("--draw", action="store_true", help="measure nothing; draw what bench.json holds")
    options = parser.parse_args(arguments)
    if options.draw and not record_path().is_file():
        print("no benchmark is recorded: make bench measures one")
        return 0
    if options.draw:
        result = json.loads(record_path().read_text("utf-8"))
    else:
        result = run(options.quick, progress=lambda line: print(line, flush=True))
    path = write(result)
    print(summary(result).to_string(index=False))
    print(f"written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
