"""`diagnose`: has the loss learned, and does its density fit the residuals? In words, and in one figure.

    found = alcl.diagnose(criterion, model(inputs) - targets, history)  # history: values of alpha, beta over time
    print(found)                                                        # one line a finding; "LOOK" marks trouble
    found.draw()                                                        # density, probability plot, trajectories

Everything is computed from the residuals given, at the criterion's present parameters. Nothing is trained or changed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from .comparators import StudentTLoss
from .contaminated import ContaminatedALCLoss
from .distributions import GeneralizedT
from .losses import ALCLoss

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Diagnosis", "Finding", "diagnose"]

#: ALCL's colour in every figure of the companion.
COLOUR = "#D55E00"
#: Probability of rejecting a fit that is right.
LEVEL = 0.01
#: Of more residuals than this a random part is tested and drawn; of that, a smaller part is fitted a second time.
MOST, MOST_REFITTED = 100_000, 20_000
#: A learned scale is at its floor within 5 % of it, a learned shape within 0.02.
NEAR_FLOOR, NEAR_BOUND = 0.05, 0.02
#: Shape and tail weight beyond which a larger one changes little: a limit of the family has been reached.
FAR_SHAPE, FAR_TAIL = 20.0, 50.0
#: Still moving: a change of more than 5 % over the last quarter of the trajectory.
MOVING = 0.05


class Finding(NamedTuple):
    """One statement: its topic, whether all is well, and the words.

    >>> print(Finding("scale", True, "beta = 0.1 is fixed"))
    ok    scale: beta = 0.1 is fixed
    """

    topic: str
    good: bool
    text: str

    def __str__(self) -> str:
        return f"{'ok  ' if self.good else 'LOOK'}  {self.topic}: {self.text}"


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """What `diagnose` found; `str` gives the words, `draw` the figure.

    findings: in the order of reading. parameters: the criterion's alpha, beta, kappa (tensors of `parameter_shape`).
    count: finite residuals. zeros, zero_limit: the share of them that is exactly 0, and the share from which the
    likelihood grows without bound as beta falls (of the worst channel). distance: the largest difference between the
    empirical and the fitted distribution function, in [0, 1]; critical: what chance exceeds once in 1 / LEVEL times.
    refitted: the family's best fit to these residuals, and its distance; None where there is none.

    >>> found = diagnose(ALCLoss(), torch.zeros(100))
    >>> found.good, found.zeros, found.zero_limit
    (False, 1.0, 0.5)
    >>> found.finding("zeros").good
    False
    """

    findings: tuple[Finding, ...]
    parameters: Mapping[str, Tensor]
    count: int
    zeros: float
    zero_limit: float
    distance: float
    critical: float
    refitted: GeneralizedT | None
    refitted_distance: float | None
    _residuals: np.ndarray
    _probabilities: np.ndarray
    _history: Mapping[str, Sequence[float]]

    @property
    def good(self) -> bool:
        """Whether no finding asks for a look."""
        return all(finding.good for finding in self.findings)

    def finding(self, topic: str) -> Finding | None:
        """The finding of a topic ("residuals", "scale", "shape", "zeros", "symmetry", "fit", "learning"), or None."""
        return next((finding for finding in self.findings if finding.topic == topic), None)

    def __str__(self) -> str:
        return "\n".join(map(str, self.findings))

    __repr__ = __str__

    def draw(self) -> Figure:
        """Fitted density over the residuals' histogram, probability plot, and the trajectories if there are any."""
        return _draw(self)


def diagnose(criterion: ALCLoss | StudentTLoss, residuals: Tensor, history: Any = None) -> Diagnosis:
    """Say in words whether the loss has learned, and whether its density fits the residuals.

    Args:
        criterion: the loss, with its present parameters.
        residuals: input - target, any shape that `criterion` takes, in the units it was trained on. Residuals of
            images the network was trained on tell about training; of others, about the noise.
        history: a mapping {"alpha": [...], "beta": [...]} of values over time, or an object whose `parameters` is one.

    The test of fit is Kolmogorov's, at the level of 1 %, with the number of residuals accounted for: 1.63 / sqrt(n)
    is the distance that is chance. Parameters that were fitted to these very residuals make it conservative. It takes
    the residuals as independent; neighbouring pixels are not quite, so at a close call trust the figure. When it
    rejects, the family is fitted to the residuals once more by maximum likelihood, which tells parameters that have
    not arrived from a family that does not fit.

    Raises:
        TypeError: a criterion without a density in this family, residuals that are not a tensor.
        ValueError: no finite residual; residuals that `parameter_shape` does not fit; a history without parameters.

    >>> residuals = GeneralizedT(2.0, 0.1).icdf(torch.linspace(0.001, 0.999, 999))
    >>> diagnose(ALCLoss(beta=0.1), residuals).finding("fit").good
    True
    >>> diagnose(ALCLoss(beta=0.3), residuals).good
    False
    """
    if not isinstance(criterion, (ALCLoss, StudentTLoss)) or isinstance(criterion, ContaminatedALCLoss):
        raise TypeError(f"criterion must be an ALCLoss or a StudentTLoss; got {type(criterion).__name__}")
    if not isinstance(residuals, Tensor) or residuals.is_complex():
        raise TypeError(f"residuals must be a real tensor; got {type(residuals).__name__}")
    track = _parameters_over_time(history)
    with torch.no_grad():
        e, parameters = residuals.detach().cpu().double(), _parameters(criterion)
        if isinstance(criterion, ALCLoss):
            criterion._check_shape(e)
        alpha, beta, kappa = (p.expand(e.shape) for p in parameters.values())
        finite = e.isfinite()
        if not finite.any():
            raise ValueError(f"residuals must hold at least one finite number; got none among {e.numel()}")
        findings = [_finite(e, finite)]
        findings += _bounds(criterion, parameters)
        if isinstance(criterion, ALCLoss) and not criterion.normalized:
            findings.append(_without_normaliser(criterion, parameters["beta"], e[finite]))
        zero_finding, zeros, limit = _zeros(criterion, e, finite, parameters)
        findings.append(zero_finding)
        kept = _some(finite.flatten().nonzero().squeeze(1), MOST)
        e, alpha, beta, kappa = (x.flatten()[kept] for x in (e, alpha, beta, kappa))
        findings.append(_symmetry(e))
        if bool((kappa * alpha <= 1).any()):
            text = "kappa alpha is at most 1, so there is no density behind the loss, and nothing to fit"
            findings.append(Finding("fit", False, text))
            probabilities, distance, critical, refitted, best = np.empty(0), math.nan, math.nan, None, None
        else:
            probabilities = GeneralizedT(alpha, beta, kappa, validate_args=False).cdf(e).numpy()
            distance, critical = _distance(probabilities), float(stats.kstwo.isf(LEVEL, len(e)))
            refitted, best, words = (None, None, "")
            if distance > critical:
                refitted, best, words = _refit(criterion, e, parameters)
            findings.append(_fit(distance, critical, len(e), words))
        if track:
            findings.append(_learning(criterion, track))
    return Diagnosis(
        tuple(findings), parameters, int(finite.sum()), zeros, limit, distance, critical, refitted, best,
        e.numpy(), probabilities, track,
    )  # fmt: skip


# --- the findings -----------------------------------------------------------------------------------------------------


def _parameters(criterion: ALCLoss | StudentTLoss) -> dict[str, Tensor]:
    if isinstance(criterion, StudentTLoss):
        values = criterion._as_generalized_t()
    else:
        values = criterion.alpha, criterion.beta, criterion.kappa
    return {name: p.detach().cpu().double() for name, p in zip(("alpha", "beta", "kappa"), values, strict=True)}


def _learned(criterion: ALCLoss | StudentTLoss) -> set[str]:
    return {name.removeprefix("raw_") for name, _ in criterion.named_parameters()}


def _parameters_over_time(history: Any) -> dict[str, list[float]]:
    if history is None:
        return {}
    track = getattr(history, "parameters", history)
    if not isinstance(track, Mapping) or not all(isinstance(values, Sequence) for values in track.values()):
        raise ValueError(
            'history must be a mapping like {"alpha": [...], "beta": [...]}, or have one as `parameters`; '
            f"got {type(history).__name__}"
        )
    return {name: [float(v) for v in values] for name, values in track.items()}


def _finite(e: Tensor, finite: Tensor) -> Finding:
    bad = int((~finite).sum())
    if bad:
        return Finding("residuals", False, f"{bad} of {e.numel()} are inf or NaN, and left out below")
    return Finding("residuals", True, f"{e.numel()}, all finite; half of them within {e.abs().median():.3g} of 0")


def _show(values: Tensor) -> str:
    low, high = values.min().item(), values.max().item()
    return f"{low:.3g}" if values.numel() == 1 or low == high else f"{low:.3g} to {high:.3g}"


def _bounds(criterion: ALCLoss | StudentTLoss, parameters: Mapping[str, Tensor]) -> list[Finding]:
    """Is the scale at its floor, the shape at its bound?"""
    learned = _learned(criterion)
    if isinstance(criterion, StudentTLoss):
        scale, floor, name = criterion.scale.double(), criterion.scale_min, "scale"
        shape, bound, shape_name, far = criterion.dof.double(), criterion.dof_min, "dof", 2 * FAR_TAIL
    else:
        scale, floor, name = parameters["beta"], criterion.beta_min, "beta"
        bound = torch.as_tensor(criterion._alpha_floor()).double()
        shape, shape_name, far = parameters["alpha"], "alpha", FAR_SHAPE
    findings = []
    stuck = int((scale <= floor * (1 + NEAR_FLOOR)).sum())
    some = f" ({stuck} of {scale.numel()})" if scale.numel() > 1 else ""
    if name not in learned:
        findings.append(Finding("scale", True, f"{name} = {_show(scale)} is fixed"))
    elif stuck:
        text = (
            f"{name} = {_show(scale)} sits at its floor {floor:g}{some}: it would fall further if it could. Look for "
            "exactly zero residuals, or learn the loss more slowly than the network"
        )
        findings.append(Finding("scale", False, text))
    else:
        findings.append(Finding("scale", True, f"{name} = {_show(scale)}, clear of its floor {floor:g}"))
    low, high = bool((shape - bound <= NEAR_BOUND).any()), bool((shape >= far).any())
    if shape_name not in learned:
        findings.append(Finding("shape", True, f"{shape_name} = {_show(shape)} is fixed"))
    elif low:
        text = (
            f"{shape_name} = {_show(shape)} sits at its bound {_show(torch.as_tensor(bound))}: the tails are as heavy"
        )
        findings.append(Finding("shape", False, f"{text} as they may be"))
    elif high:
        text = f"{shape_name} = {_show(shape)} is still growing, or might as well be: tails lighter than this family's"
        findings.append(Finding("shape", False, text))
    else:
        findings.append(Finding("shape", True, f"{shape_name} = {_show(shape)}, clear of its bound"))
    if "kappa" in learned and bool((parameters["kappa"] >= FAR_TAIL).any()):
        text = f"kappa = {_show(parameters['kappa'])}: the limit of light tails, a generalized Gaussian, is reached"
        findings.append(Finding("tail", False, text))
    return findings


def _without_normaliser(criterion: ALCLoss, beta: Tensor, e: Tensor) -> Finding:
    times = (beta.max() / e.abs().median().clamp_min(torch.finfo(e.dtype).tiny)).item()
    if "beta" not in _learned(criterion):
        return Finding("normaliser", True, "left out; beta is fixed, so gradients are the same as with it")
    return Finding(
        "normaliser",
        False,
        f"left out while beta is learned, so nothing holds beta: it is {times:.3g} times the median |residual|, and "
        "grows for as long as training goes on. Use normalized=True",
    )


def _zeros(criterion, e: Tensor, finite: Tensor, parameters: Mapping[str, Tensor]) -> tuple[Finding, float, float]:
    """The share of exact zeros against 1 - 1/(kappa alpha), where the likelihood loses its maximum (Theorem A4)."""
    shape = torch.broadcast_shapes(*(p.shape for p in parameters.values()))
    number = finite.double().sum_to_size(shape).clamp_min(1)
    share = ((e == 0) & finite).double().sum_to_size(shape) / number
    limit = (1 - 1 / (parameters["kappa"] * parameters["alpha"])).expand(shape)
    worst = int((share - limit).argmax())
    z, bound = share.flatten()[worst].item(), limit.flatten()[worst].item()
    where = " in the worst channel" if share.numel() > 1 else ""
    name = "scale" if isinstance(criterion, StudentTLoss) else "beta"
    if z > bound:
        text = (
            f"{z:.1%} of the residuals are exactly 0{where}, more than the {bound:.1%} that this shape bears: the "
            f"likelihood grows without bound as {name} falls, and only the floor holds it. Do not clip the noise, "
            "raise the floor, or mask what is constant"
        )
        return Finding("zeros", False, text), z, bound
    return Finding("zeros", True, f"{z:.1%} are exactly 0{where}, below the limit of {bound:.1%}"), z, bound


def _symmetry(e: Tensor) -> Finding:
    """Sign test: as many residuals above 0 as below?"""
    above, count = int((e > 0).sum()), int((e != 0).sum())
    if count == 0:
        return Finding("symmetry", True, "every residual is 0")
    share, chance = above / count, stats.norm.isf(LEVEL / 2) * 0.5 / math.sqrt(count)
    text = f"{share:.1%} of the residuals are positive; 50 % ± {100 * chance:.2g} is chance"
    if abs(share - 0.5) <= chance:
        return Finding("symmetry", True, text)
    return Finding("symmetry", False, f"{text}. The output is off the median, or the noise is asymmetric")


def _some(x: Tensor, most: int) -> Tensor:
    """At most so many entries, drawn at random, the same ones every time; a stride would fall in step with columns."""
    if len(x) <= most:
        return x
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:most]]


def _distance(probabilities: np.ndarray) -> float:
    """Kolmogorov's distance of numbers from the uniform distribution on [0, 1]."""
    return float(stats.kstest(probabilities, "uniform", method="asymp").statistic)


def _refit(
    criterion: ALCLoss | StudentTLoss, e: Tensor, parameters: Mapping[str, Tensor]
) -> tuple[GeneralizedT | None, float | None, str]:
    """The family's best fit, of what is learned, and what it says."""
    learned = _learned(criterion)
    if isinstance(criterion, StudentTLoss):
        learned = {{"dof": "kappa", "scale": "beta"}[name] for name in learned}
    if not learned:
        return None, None, "Nothing is learned, so nothing can adapt"
    if any(p.numel() > 1 for p in parameters.values()):
        return None, None, "Look at the channels one by one"
    start = {name: p.item() for name, p in parameters.items() if name not in learned}
    thinned = _some(e, MOST_REFITTED)
    try:
        best = GeneralizedT.fit(thinned, learn=tuple(sorted(learned)), **start)
    except (RuntimeError, ValueError) as error:
        return None, None, f"The family has no best fit to them ({error})"
    distance = _distance(best.cdf(thinned).numpy())
    values = ", ".join(f"{name} = {getattr(best, name).item():.3g}" for name in sorted(learned))
    if distance <= stats.kstwo.isf(LEVEL, len(thinned)):
        words = f"The family does fit, at {values}: the loss has not arrived there, or a floor keeps it away"
    else:
        words = (
            f"The family's best fit, {values}, is off by {100 * distance:.2g} points: not a distribution of this family"
        )
    return best, distance, words


def _fit(distance: float, critical: float, count: int, words: str) -> Finding:
    off = f"the fitted distribution is off by up to {100 * distance:.2g} points of probability"
    chance = f"{100 * critical:.2g} is chance for {count} independent residuals"
    if distance <= critical:
        return Finding("fit", True, f"not rejected: {off}; {chance}")
    small = " A small misfit, visible because they are many." if distance < 0.02 else ""
    return Finding("fit", False, f"rejected: {off}; {chance}.{small} {words}")


def _learning(criterion: ALCLoss | StudentTLoss, track: Mapping[str, Sequence[float]]) -> Finding:
    """Have the learned parameters moved, and have they settled?"""
    learned = [name for name in track if name in _learned(criterion) and len(track[name]) > 1]
    if not learned:
        return Finding("learning", True, "nothing to learn, or nothing recorded of it")
    if all(len(set(track[name])) == 1 for name in learned):
        names = ", ".join(learned)
        text = f"{names} never moved: give them to the optimizer (alcl.optimizer_groups), or fix them with learn=()"
        return Finding("learning", False, text)
    moving = []
    for name in learned:
        values = track[name]
        then, now = values[-1 - max(1, len(values) // 4)], values[-1]
        change = (now - then) / abs(then) if then else math.inf
        if not abs(change) <= MOVING:
            moving.append(f"{name} by {100 * change:+.2g} %")
    if moving:
        return Finding("learning", False, f"still moving over the last quarter: {', '.join(moving)}. Train longer")
    return Finding("learning", True, f"{', '.join(learned)} moved, and settled")


# --- the figure -------------------------------------------------------------------------------------------------------


def _draw(found: Diagnosis) -> Figure:
    import matplotlib.pyplot as plt

    colour, gray = COLOUR, "#6B6B6B"
    panels = 2 + bool(found._history)
    figure, axes = plt.subplots(1, panels, figsize=(7.0, 2.9), layout="constrained")
    _draw_density(axes[0], found, colour, gray)
    _draw_probabilities(axes[1], found, colour, gray)
    if found._history:
        _draw_history(axes[2], found)
    figure.suptitle(_verdict(found), x=0.01, ha="left")
    return figure


def _draw_density(ax, found: Diagnosis, colour: str, gray: str) -> None:
    e = found._residuals
    reach = float(np.quantile(np.abs(e), 0.95)) or 1.0
    outside = float((np.abs(e) > reach).mean())
    # An odd number of bars, so that exact zeros stand in one; on a logarithmic axis they hide nothing.
    heights, edges = np.histogram(e, bins=np.linspace(-reach, reach, 62))
    heights = heights * (61 / (2 * reach) / len(e))
    ax.bar(edges[:-1], heights, width=np.diff(edges), align="edge", color="#C8C8C8")
    ax.set_yscale("log")
    ax.set_ylim(0.5 * heights[heights > 0].min(), 9 * heights.max())
    values = [p.flatten() for p in torch.broadcast_tensors(*found.parameters.values())]
    grid = torch.linspace(-reach, reach, 801, dtype=torch.float64)
    if bool((values[0] * values[2] > 1).all()):
        fitted = GeneralizedT(*(v[:, None] for v in values), validate_args=False)
        ax.plot(grid, fitted.log_prob(grid).exp().mean(0), color=colour, linewidth=2.0)
    if found.refitted is not None:
        ax.plot(grid, found.refitted.log_prob(grid).exp(), color=gray, linestyle="--")
    ax.set(xlabel=f"residual\n({outside:.0%} lie outside)", ylabel="density", title="Density")
    handles = [(colour, "-", "the loss's")]
    if found.refitted is not None:
        handles.append((gray, "--", "best of the family"))
    lines = [ax.plot([], [], color=c, linestyle=s, label=text)[0] for c, s, text in handles]
    ax.legend(handles=lines, loc="upper left", fontsize=8, handlelength=1.4)


def _verdict(found: Diagnosis) -> str:
    if math.isnan(found.distance):
        return "There is no density behind the loss"
    if found.distance <= found.critical:
        return "The learned density is not rejected"
    return f"The learned density is off by up to {100 * found.distance:.2g} points of probability"


def _draw_probabilities(ax, found: Diagnosis, colour: str, gray: str) -> None:
    """A QQ plot in normal scores: heavy tails on both axes, so neither end runs away."""
    p = np.sort(found._probabilities)
    ax.axline((0, 0), slope=1, color=gray, linewidth=1.0)
    if len(p):
        index = np.unique(np.linspace(0, len(p) - 1, 2000).astype(int))
        model = stats.norm.ppf(p[index].clip(1e-12, 1 - 1e-12))
        ax.plot(model, stats.norm.ppf((index + 0.5) / len(p)), color=colour, linewidth=2.0)
        strays = float(np.abs(model).max())
        ax.set(xlim=(-strays - 0.3, strays + 0.3), ylim=(-4.6, 4.6))
    ax.set(xlabel="quantile of the loss\n(both as normal scores)", ylabel="observed quantile", title="Quantiles")


def _draw_history(ax, found: Diagnosis) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    # One ink and several dashes: every colour is a method's.
    dashes = {
        "alpha": "-",
        "beta": (0, (5, 1.5)),
        "kappa": (0, (1, 1.5)),
        "dof": (0, (4, 1, 1, 1)),
        "scale": (0, (5, 1.5)),
    }
    for name, values in found._history.items():
        ax.plot(values, color="0.25", linestyle=dashes.get(name, "-"), label=name)
    ax.margins(x=0.02)
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    finding = found.finding("learning")
    bounds = [name for name in ("scale", "shape") if not found.finding(name).good]
    settled = f"Settled, {' and '.join(bounds)} at the bound" if bounds else "Settled"
    moving = finding.text.split(":")[0].split(" over ")[0].capitalize()
    ax.set(xlabel="epoch", title=settled if finding.good else moving)
    ax.legend(fontsize=8, handlelength=2.2)
