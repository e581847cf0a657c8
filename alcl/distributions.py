"""The residual density of the log-correntropy loss: McDonald and Newey's generalized t.

With residual ``e``, shape ``alpha``, scale ``beta`` and tail weight ``kappa``,

    p(e) = (1 + |e/beta|^alpha)^(-kappa) / Z,    Z = (2 beta / alpha) B(1/alpha, kappa - 1/alpha),

which is a density exactly when ``kappa * alpha > 1``. Everything else in this module follows from one fact
(appendix A2, Theorem L7): ``v = |u|^alpha / (1 + |u|^alpha)``, with ``u = e / beta``, is distributed as Beta(a, b),

    a = 1/alpha,    b = kappa - 1/alpha,    a + b = kappa.

Work is done in ``log|e| - log(beta)``, so no power of a residual is ever formed and nothing overflows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy import optimize
from torch import Tensor
from torch.distributions import Distribution, constraints, register_kl
from torch.distributions.utils import broadcast_all
from torch.nn import functional

from ._density import Cdf, Quantile, log_density, log_normalizer, log_normalizer_in_numbers, log_ratio, tail_index_of

__all__ = ["PARAMETERS", "GeneralizedT", "log_normalizer", "log_normalizer_in_numbers"]

#: Order of the entries of ``GeneralizedT.score`` and ``GeneralizedT.fisher_information``.
PARAMETERS = ("location", "alpha", "beta", "kappa")


class GeneralizedT(Distribution):
    r"""Generalized t density, centred at zero (McDonald and Newey, 1988).

    .. math:: p(e) = \frac{(1 + |e/\beta|^\alpha)^{-\kappa}}{(2\beta/\alpha)\,B(1/\alpha, \kappa - 1/\alpha)}

    Special cases: ``alpha=2, kappa=1`` Cauchy; ``alpha=2`` Student-t with ``2 kappa - 1`` degrees of freedom
    and t-scale ``beta / sqrt(2 kappa - 1)``; ``kappa = 2/alpha`` the generalized Cauchy density of Carrillo,
    Aysal and Barner (2010); ``kappa -> inf`` with ``beta^alpha / kappa`` held fixed the generalized Gaussian,
    and with it Laplace (``alpha=1``) and Gaussian (``alpha=2``).

    Args:
        alpha: shape, ``alpha > 1/kappa`` (so ``alpha > 1`` for the paper's ``kappa = 1``).
        beta: scale in the units of the residual, ``beta > 0``.
        kappa: tail weight, ``kappa > 0``.
        validate_args: ``False`` skips every check (needed under ``torch.compile(fullgraph=True)``).

    Raises:
        ValueError: a parameter outside its range, named in the message.

    Everything is differentiable in the parameters; ``cdf`` and ``icdf`` by way of `alcl._tails`, since their
    derivatives in ``alpha`` and ``kappa`` have no closed form.

    >>> noise = GeneralizedT(alpha=2.0, beta=1.0)  # Cauchy
    >>> noise.cdf(torch.tensor(1.0)), noise.log_prob(torch.tensor(0.0)).exp()
    (tensor(0.7500), tensor(0.3183))
    """

    # kappa's lower bound depends on alpha; the pair is checked in __init__.
    arg_constraints = {  # noqa: RUF012  (the base class's own form)
        "alpha": constraints.positive,
        "beta": constraints.positive,
        "kappa": constraints.positive,
    }
    support = constraints.real
    has_rsample = True

    def __init__(
        self,
        alpha: Tensor | float,
        beta: Tensor | float,
        kappa: Tensor | float = 1.0,
        validate_args: bool | None = None,
    ) -> None:
        self.alpha, self.beta, self.kappa = map(_real, PARAMETERS[1:], broadcast_all(alpha, beta, kappa))
        # Not the class-wide default of torch.distributions: importing torch.compile's front end turns that off.
        checked = validate_args is not False
        if checked:
            _check_parameters(self.alpha, self.beta, self.kappa)
        super().__init__(self.alpha.shape, validate_args=False)  # its messages would be second best
        self._validate_args = checked

    def expand(self, batch_shape: torch.Size, _instance: GeneralizedT | None = None) -> GeneralizedT:
        """The same distribution with parameters broadcast to ``batch_shape``; no memory is copied."""
        new = self._get_checked_instance(GeneralizedT, _instance)
        for name in ("alpha", "beta", "kappa"):
            setattr(new, name, getattr(self, name).expand(batch_shape))
        super(GeneralizedT, new).__init__(torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    # -- the Beta parameters behind everything -------------------------------------------------------------

    @property
    def tail_index(self) -> Tensor:
        """``kappa * alpha - 1``: ``P(|e| > t)`` falls like ``t^-tail_index``; moments below it are finite."""
        return tail_index_of(self.alpha, self.kappa)

    @property
    def _beta_parameters(self) -> tuple[Tensor, Tensor]:
        """``a = 1/alpha`` and ``b = kappa - 1/alpha``, of the distribution of ``v``."""
        return 1 / self.alpha, self.tail_index / self.alpha

    def _sample(self, value: Tensor) -> Tensor:
        value = _real("value", value)
        if self._validate_args:
            self._validate_sample(value)
        return value

    # -- density -------------------------------------------------------------------------------------------

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of residuals ``value`` (any shape that broadcasts); finite for every finite residual.

        Gradients at ``e = 0`` are 0, the true value for ``alpha > 1``.
        """
        value = self._sample(value)
        return log_density(value, self.alpha, self.beta, self.kappa)

    def score(self, value: Tensor) -> Tensor:
        """Derivatives of ``log_prob`` in (location, alpha, beta, kappa), in closed form.

        The location entry is the influence function ``psi(e)``, since ``d/d(location) = -d/de``. At
        ``e = 0`` it is set to 0: its value for ``alpha > 1``, the middle of its jump for ``alpha = 1``.

        Returns:
            Tensor of shape ``broadcast(value.shape, batch_shape) + (4,)``, ordered as ``PARAMETERS``.
        """
        value, alpha, beta, kappa = _real("value", value), self.alpha, self.beta, self.kappa
        a, b = self._beta_parameters
        log_u, zero = log_ratio(value, beta)
        logit = alpha * log_u
        v = torch.where(zero, torch.zeros_like(logit), torch.sigmoid(logit))
        growth = torch.where(zero, torch.zeros_like(logit), functional.softplus(logit, threshold=40))
        slope = kappa * alpha * torch.exp(functional.logsigmoid(logit) - log_u) / beta
        location = torch.where(zero, torch.zeros_like(slope), slope * value.sign())
        shape = -kappa * v * log_u + a + a**2 * (torch.digamma(a) - torch.special.digamma(b))
        scale = (kappa * alpha * v - 1) / beta
        tail = -growth + torch.digamma(kappa) - torch.digamma(b)
        return torch.stack(torch.broadcast_tensors(location, shape, scale, tail), dim=-1)

    # -- distribution function -----------------------------------------------------------------------------

    def cdf(self, value: Tensor) -> Tensor:
        """``P(residual <= value) = 1/2 + sign(e)/2 * I_v(a, b)``, accurate in the lower tail as well.

        Evaluated by ``scipy.special`` in float64 on the CPU, whatever the dtype and device. Differentiable
        in ``value`` and all parameters.
        """
        value = self._sample(value)
        return Cdf.apply(value, self.alpha, self.beta, self.kappa)

    def icdf(self, value: Tensor) -> Tensor:
        """Quantile function, for probabilities in [0, 1]; evaluated and differentiated as ``cdf`` is."""
        value = _real("value", value)
        if self._validate_args and not bool(((value >= 0) & (value <= 1)).all()):
            raise ValueError("value must hold probabilities in [0, 1]")
        return Quantile.apply(value, self.alpha, self.beta, self.kappa)

    def rsample(self, sample_shape: torch.Size | Sequence[int] = ()) -> Tensor:
        """Reparameterized draws of shape ``sample_shape + batch_shape`` from torch's global generator.

        ``|e| = beta (v / (1 - v))^(1/alpha)`` with a random sign, where ``v / (1 - v)`` is drawn as the
        ratio of a Gamma(a) to a Gamma(b) variate, each as ``Gamma(shape + 1) * U^(1/shape)`` in logarithms.
        That is the Beta route without its rounding: a Beta variate within 1e-16 of 1 has lost its tail.
        Gradients are torch's implicit ones for Gamma (accurate to about 1e-3, unbiased in direction).
        """
        shape = self._extended_shape(torch.Size(sample_shape))
        a, b = (x.expand(shape) for x in self._beta_parameters)
        log_odds = _log_gamma_variate(a) - _log_gamma_variate(b)
        sign = torch.randint_like(log_odds, 2) * 2 - 1
        return sign.detach() * torch.exp(self.beta.log() + log_odds / self.alpha)

    # -- summaries -----------------------------------------------------------------------------------------

    @property
    def mean(self) -> Tensor:
        """0 by symmetry where ``tail_index > 1``, else nan: the integral does not converge."""
        return torch.where(self.tail_index > 1, torch.zeros_like(self.alpha), torch.nan)

    @property
    def mode(self) -> Tensor:
        """0."""
        return torch.zeros_like(self.alpha)

    @property
    def variance(self) -> Tensor:
        """``moment(2)``; inf where ``1 < tail_index <= 2``, nan where there is no mean to vary about."""
        return torch.where(self.tail_index > 1, self.moment(2), torch.nan)

    def moment(self, m: float) -> Tensor:
        """Absolute moment ``E|e|^m``, for real ``m > -1``; inf where ``m >= tail_index``.

        ``beta^m B((m+1)/alpha, kappa - (m+1)/alpha) / B(1/alpha, kappa - 1/alpha)``.

        Raises:
            ValueError: ``m <= -1``, for which the integral diverges at zero.
        """
        if not m > -1:
            raise ValueError(f"m must exceed -1 (the moment diverges at zero otherwise), got {m}")
        a, b = self._beta_parameters
        shift = m / self.alpha
        finite = self.tail_index > m
        upper = torch.where(finite, (self.tail_index - m) / self.alpha, torch.ones_like(b))
        log_moment = torch.lgamma(a + shift) - torch.lgamma(a) + torch.lgamma(upper) - torch.lgamma(b)
        return torch.where(finite, torch.exp(m * self.beta.log() + log_moment), torch.inf)

    def entropy(self) -> Tensor:
        """Differential entropy in nats, ``log Z + kappa (digamma(kappa) - digamma(kappa - 1/alpha))``."""
        _, b = self._beta_parameters
        log_z = log_normalizer(self.alpha, self.beta, self.kappa)
        return log_z + self.kappa * (torch.digamma(self.kappa) - torch.special.digamma(b))

    def fisher_information(self) -> Tensor:
        """Fisher information of one residual about (location, alpha, beta, kappa), in closed form.

        The location row is zero off the diagonal: the location score is odd in ``e``, the others even
        (appendix A2, Theorem L11, where every entry is derived from moments of ``v`` and ``logit v``). The
        scale is ``beta`` itself; the entry for ``log(beta)`` is ``beta^2`` times it. The location entry is
        inf for ``alpha <= 1/2``.

        Returns:
            Tensor of shape ``batch_shape + (4, 4)``, ordered as ``PARAMETERS``.
        """
        alpha, beta, kappa = self.alpha, self.beta, self.kappa
        a, b = self._beta_parameters
        contrast = torch.digamma(a + 1) - torch.digamma(b)  # E logit(v) under Beta(a + 1, b)
        zero = torch.zeros_like(alpha)

        regular = a < 2
        log_ratio = torch.lgamma(torch.where(regular, 2 - a, 1)) - torch.lgamma(a) - torch.lgamma(b)
        log_ratio = log_ratio + torch.lgamma(kappa + a) + torch.lgamma(kappa) - torch.lgamma(kappa + 2)
        location = torch.where(regular, (kappa * alpha / beta) ** 2 * torch.exp(log_ratio), torch.inf)

        spread = kappa * (a + 1) * (_trigamma(a + 1) + _trigamma(b))
        alpha_alpha = a**3 / (kappa + 1) * (b * contrast**2 + 2 * kappa * contrast + spread)
        alpha_beta = -a / (beta * (kappa + 1)) * (b * contrast + kappa)
        alpha_kappa = a**2 * (_trigamma(b) + contrast / kappa)
        beta_beta = self.tail_index / ((kappa + 1) * beta**2)
        beta_kappa = -1 / (kappa * beta)
        kappa_kappa = _trigamma(b) - _trigamma(kappa)
        rows = [
            [location, zero, zero, zero],
            [zero, alpha_alpha, alpha_beta, alpha_kappa],
            [zero, alpha_beta, beta_beta, beta_kappa],
            [zero, alpha_kappa, beta_kappa, kappa_kappa],
        ]
        return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)

    # -- estimation ----------------------------------------------------------------------------------------

    @classmethod
    def fit(
        cls,
        samples: Tensor,
        learn: Sequence[str] = ("alpha", "beta", "kappa"),
        *,
        alpha: float | None = None,
        beta: float | None = None,
        kappa: float = 1.0,
        max_iterations: int = 100,
    ) -> GeneralizedT:
        """Maximum likelihood from residuals centred at zero, by Newton's method within a trust region.

        It climbs from the values given and from the likeliest of a few others, and returns the higher maximum.

        Args:
            samples: finite residuals, any shape; converted to float64.
            learn: which of "alpha", "beta", "kappa" to estimate; the others stay at the values given.
            alpha, beta, kappa: starting (or fixed) values; ``None`` is the median ``|e|`` for beta, and 2 for alpha, or
                2/kappa where 2 is no legal start.
            max_iterations: steps allowed; ten is typical.

        Returns:
            The fitted distribution, with scalar float64 parameters. Standard errors come from the inverse of
            the rows and columns of ``fisher_information()`` that were learned, divided by the sample size.

        Raises:
            ValueError: bad samples, an unknown name in ``learn``, or an illegal starting value.
            RuntimeError: `max_iterations` steps were too few; or there is no interior maximum to be found: tails as
                light as a generalized Gaussian's send kappa to infinity, too many exact zeros send beta to 0 (notebook
                03).
        """
        e, learned = _check_fit_input(samples, learn, max_iterations)
        unit = e[e != 0].abs().median()  # work at scale 1, and undo it at the end
        if alpha is None:
            alpha = 2 / kappa if "alpha" in learned and 0 < kappa <= 0.5 else 2.0
        initial = (alpha, unit if beta is None else beta, kappa)
        given = cls(*(torch.as_tensor(x, dtype=torch.float64) for x in initial), validate_args=True)
        if not learned:
            return given
        start = cls(given.alpha, given.beta / unit, given.kappa)
        climbs = [
            _climb(e / unit, at, learned, max_iterations) for at in (start, _ranked_start(e / unit, start, learned))
        ]
        tops = [climb for climb in climbs if climb.interior]
        if tops:
            best = max(tops, key=lambda climb: climb.likelihood).at
            return cls(best.alpha, best.beta * unit, best.kappa)
        at = climbs[0].at
        now = f"alpha={float(at.alpha):.4g}, beta={float(at.beta * unit):.4g}, kappa={float(at.kappa):.4g}"
        why = (
            "tails lighter than a power law send alpha or kappa to infinity, many exact zeros send beta to 0; learn "
            "fewer parameters, or fix kappa"
        )
        if any(climb.cut_short for climb in climbs):
            raise RuntimeError(
                f"max_iterations={max_iterations} steps did not reach a maximum of the likelihood (now at {now}): "
                f"allow more; or there is no interior maximum: {why}"
            )
        raise RuntimeError(f"no interior maximum of the likelihood was reached (now at {now}): {why}")


@register_kl(GeneralizedT, GeneralizedT)
def _kl_divergence(p: GeneralizedT, q: GeneralizedT) -> Tensor:
    """``-H(p) - E_p log q``, the expectation by the trapezoidal rule in the log-odds ``t = alpha_p log|e/beta_p|``.

    Under p, ``t`` is the logit of a Beta(a, b) variate. With ``t = sinh(x)`` its density falls doubly exponentially, so
    that the rule is good to about 1e-9 (float64) however heavy the tails; differentiable in all parameters.
    """
    alpha, beta, kappa, *other = torch.broadcast_tensors(p.alpha, p.beta, p.kappa, q.alpha, q.beta, q.kappa)
    a, b = (x.expand_as(alpha).unsqueeze(-1) for x in p._beta_parameters)
    with torch.no_grad():  # the density is below e^-50 of its peak outside
        low, high = (torch.asinh(50 * (1 + 1 / x)) for x in (a, b))
        x = -low + (low + high) * torch.linspace(0, 1, 6001, dtype=a.dtype, device=a.device)
        t, step = torch.sinh(x), torch.cosh(x) * (low + high) / 6000
    log_mass = -a * functional.softplus(-t, threshold=40) - b * functional.softplus(t, threshold=40)
    log_mass = log_mass - torch.lgamma(a) - torch.lgamma(b) + torch.lgamma(kappa.unsqueeze(-1))
    other_alpha, other_beta = (x.unsqueeze(-1) for x in other[:2])
    logit = other_alpha * (beta.log().unsqueeze(-1) - other_beta.log() + t / alpha.unsqueeze(-1))
    growth = (functional.softplus(logit, threshold=40) * log_mass.exp() * step).sum(-1)
    return other[2] * growth + log_normalizer(*other) - p.entropy()


# -- helpers -----------------------------------------------------------------------------------------------


def _real(name: str, value: Tensor) -> Tensor:
    """`value`; integers in the default floating-point type."""
    if value.is_floating_point():
        return value
    if value.is_complex():
        raise ValueError(f"{name} must be real, got {value.dtype}")
    return value.to(torch.get_default_dtype())


def _check_parameters(alpha: Tensor, beta: Tensor, kappa: Tensor) -> None:
    """One ValueError naming the first parameter that is out of range, and the legal values."""
    for name, value in (("alpha", alpha), ("beta", beta), ("kappa", kappa)):
        legal = (value > 0) & value.isfinite()
        if not bool(legal.all()):
            raise ValueError(f"{name} must be positive and finite, got {float(value[~legal].flatten()[0]):g}")
    improper = tail_index_of(alpha, kappa) <= 0
    if bool(improper.any()):
        worst_alpha, worst_kappa = float(alpha[improper].flatten()[0]), float(kappa[improper].flatten()[0])
        raise ValueError(
            f"alpha must exceed 1/kappa, or the density has no finite normaliser: with kappa={worst_kappa:g} "
            f"legal values are alpha > {1 / worst_kappa:g}, got {worst_alpha:g}"
        )


def _check_fit_input(samples: Tensor, learn: Sequence[str], max_iterations: int) -> tuple[Tensor, list[str]]:
    learned = [learn] if isinstance(learn, str) else list(learn)
    unknown = set(learned) - set(PARAMETERS[1:])
    if unknown or len(set(learned)) < len(learned):
        raise ValueError(f"learn must hold distinct names among 'alpha', 'beta', 'kappa', got {learn!r}")
    if isinstance(max_iterations, bool) or not isinstance(max_iterations, int) or max_iterations < 1:
        raise ValueError(f"max_iterations must be an integer of at least 1, got {max_iterations!r}")
    samples = torch.as_tensor(samples)
    if samples.is_complex():
        raise ValueError(f"samples must be real, got {samples.dtype}")
    e = samples.detach().to("cpu", torch.float64).flatten()
    if len(e) == 0 or not bool(e.isfinite().all()) or bool((e == 0).all()):
        raise ValueError("samples must be finite residuals, at least one of them nonzero")
    return e, learned


def _trigamma(x: Tensor) -> Tensor:
    """Trigamma as the Hurwitz zeta(2, x): torch.polygamma(1, x) is only good to about 1e-9."""
    return torch.special.zeta(2.0, x)


def _log_gamma_variate(shape: Tensor) -> Tensor:
    """Logarithm of a Gamma(shape, 1) variate, exact for shapes so small that the variate underflows."""
    boosted = torch.distributions.Gamma(shape + 1, torch.ones_like(shape), validate_args=False).rsample()
    return boosted.log() - torch.empty_like(shape).exponential_().detach() / shape


class _Climb(NamedTuple):
    """Where an ascent of the likelihood ended."""

    at: GeneralizedT
    likelihood: float
    interior: bool
    cut_short: bool


def _climb(e: Tensor, start: GeneralizedT, learned: list[str], max_iterations: int) -> _Climb:
    """From `start` up the mean log-likelihood of residuals `e` in the learned parameters."""
    index = [PARAMETERS.index(name) for name in learned]

    def gradient(x: np.ndarray) -> np.ndarray:
        at = _at_coordinates(start, learned, torch.as_tensor(x))
        return -(_coordinate_jacobian(at, learned).T @ at.score(e).mean(0)[index]).numpy()

    def loss(x: np.ndarray) -> float:
        value = -float(_at_coordinates(start, learned, torch.as_tensor(x)).log_prob(e).mean())
        return value if math.isfinite(value) else math.inf  # a wild trial step is refused

    def hessian(x: np.ndarray) -> np.ndarray:
        # Of the data, not its expectation: the Fisher information misleads where the model is wrong.
        here, step = gradient(x), 1e-6
        columns = [(gradient(x + shift) - here) / step for shift in step * np.eye(len(x))]
        return (np.array(columns) + np.array(columns).T) / 2

    options = {"gtol": 1e-8, "maxiter": max_iterations, "max_trust_radius": 4.0}
    with torch.no_grad(), np.errstate(all="ignore"):
        result = optimize.minimize(
            loss, np.zeros(len(learned)), jac=gradient, hess=hessian, method="trust-exact", options=options
        )
        at = _at_coordinates(start, learned, torch.as_tensor(result.x))
        # Judge by statistics, not by the optimiser's flag: interior, and a thousandth of a standard error from
        # stationary.
        far = [100.0 if name == "beta" else 15.0 for name in learned]
        interior = bool((np.abs(result.x) < far).all())
        if interior:
            jacobian = _coordinate_jacobian(at, learned)
            information = jacobian.T @ at.fisher_information()[index][:, index] @ jacobian
            left = torch.as_tensor(gradient(result.x))
            interior = bool(len(e) * left @ torch.linalg.pinv(information) @ left < 1e-6)
    return _Climb(at, -float(result.fun), interior, result.nit >= max_iterations)


def _ranked_start(e: Tensor, given: GeneralizedT, learned: list[str]) -> GeneralizedT:
    """The likeliest of a few shapes and tail weights, the scale (where learned) set so that the median |e| is right."""
    alphas = [1.3, 2.0, 4.0, 8.0] if "alpha" in learned else [float(given.alpha)]
    tails = [1.5, 2.0, 4.0, 10.0]  # kappa alpha
    grid = [(a, t / a) for a, t in itertools.product(alphas, tails)]
    if "kappa" not in learned:
        kappa = float(given.kappa)
        grid = [(t / kappa, kappa) for t in tails] if "alpha" in learned else [(float(given.alpha), kappa)]
    alpha, kappa = torch.tensor(grid, dtype=torch.float64).T
    beta = given.beta.expand_as(alpha)
    if "beta" in learned:
        quartile = GeneralizedT(alpha, torch.ones_like(alpha), kappa).icdf(torch.tensor(0.75, dtype=torch.float64))
        matched = e[e != 0].abs().median() / quartile
        beta = torch.where(matched > 0, matched, beta)  # 0 where the tail is so heavy that the quartile overflows
    with torch.no_grad():
        likelihoods = [GeneralizedT(*start).log_prob(e).mean() for start in zip(alpha, beta, kappa, strict=True)]
    best = int(torch.stack(likelihoods).argmax())
    return GeneralizedT(alpha[best], beta[best], kappa[best])


def _at_coordinates(start: GeneralizedT, learned: list[str], x: Tensor) -> GeneralizedT:
    """The distribution at unconstrained coordinates ``x``, one for each learned name; ``start`` is at zero.

    They are log(beta); log(kappa - 1/alpha); and log(alpha), or log(alpha - 1/kappa) where kappa is fixed.
    """
    factor = dict(zip(learned, x.exp(), strict=True))
    alpha, beta, kappa = start.alpha, start.beta * factor.get("beta", 1.0), start.kappa
    b = start._beta_parameters[1]
    if "alpha" in learned:
        bound = 0.0 if "kappa" in learned else 1 / kappa
        alpha = bound + (alpha - bound) * factor["alpha"]
    if "kappa" in learned:
        kappa = 1 / alpha + b * factor["kappa"]
    return GeneralizedT(alpha, beta, kappa, validate_args=False)


def _coordinate_jacobian(at: GeneralizedT, learned: list[str]) -> Tensor:
    """Derivatives of the learned parameters (rows) in the coordinates of ``_at_coordinates`` (columns)."""
    a, b = at._beta_parameters
    full = torch.zeros(3, 3, dtype=torch.float64)
    full[0, 0] = at.alpha if "kappa" in learned else at.tail_index / at.kappa
    full[1, 1] = at.beta
    full[2, 0] = -a if "alpha" in learned and "kappa" in learned else 0.0
    full[2, 2] = b
    keep = [PARAMETERS.index(name) - 1 for name in learned]
    return full[keep][:, keep]
