"""The residual density of the log-correntropy loss: McDonald and Newey's generalized t.

With residual ``e``, shape ``alpha``, scale ``beta`` and tail weight ``kappa``,

    p(e) = (1 + |e/beta|^alpha)^(-kappa) / Z,    Z = (2 beta / alpha) B(1/alpha, kappa - 1/alpha),

which is a density exactly when ``kappa * alpha > 1``. Everything else in this module follows from one fact
(appendix A2, Theorem L7): ``v = |u|^alpha / (1 + |u|^alpha)``, with ``u = e / beta``, has the Beta(a, b) law,

    a = 1/alpha,    b = kappa - 1/alpha,    a + b = kappa.

Work is done in ``log|e| - log(beta)``, so no power of a residual is ever formed and nothing overflows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from numbers import Number

import numpy as np
import torch
from scipy import optimize, special
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.utils import broadcast_all
from torch.nn import functional

__all__ = ["PARAMETERS", "GeneralizedT", "log_normalizer", "log_normalizer_in_numbers"]

#: Order of the entries of ``GeneralizedT.score`` and ``GeneralizedT.fisher_information``.
PARAMETERS = ("location", "alpha", "beta", "kappa")


def _tail_index(alpha: Tensor, kappa: Tensor | float) -> Tensor:
    """``kappa * alpha - 1`` to full relative accuracy, however close to zero.

    The product is rounded before 1 is subtracted, so near ``kappa * alpha = 1`` the naive expression has no
    correct digit. Dekker's exact product recovers what the rounding dropped. The correction is a constant to
    autograd: the derivative of the exact product is already that of ``kappa * alpha``.
    """
    if isinstance(kappa, Number):
        if kappa == 1:
            return alpha - 1  # the paper's loss: exact, and no further work
        kappa = torch.as_tensor(kappa, dtype=alpha.dtype, device=alpha.device)
    product = kappa * alpha
    digits = round(1 - math.log2(torch.finfo(product.dtype).eps))
    splitter = 2.0 ** ((digits + 1) // 2) + 1
    with torch.no_grad():
        k, a = kappa.detach().to(product.dtype), alpha.detach().to(product.dtype)
        k_high = k * splitter - (k * splitter - k)
        a_high = a * splitter - (a * splitter - a)
        k_low, a_low = k - k_high, a - a_high
        dropped = ((k_high * a_high - product.detach()) + k_high * a_low + k_low * a_high) + k_low * a_low
    return (product - 1) + dropped


def log_normalizer(
    alpha: Tensor | float, beta: Tensor | float, kappa: Tensor | float = 1.0, tail_index: Tensor | None = None
) -> Tensor:
    """``log Z``, the logarithm of the integral of ``(1 + |e/beta|^alpha)^(-kappa)`` over the real line.

    ``log Z = log(2 beta / alpha) + log B(1/alpha, kappa - 1/alpha)`` (notebook 01, Theorem L3); for
    ``kappa = 1`` it is ``log(2 pi beta / (alpha sin(pi/alpha)))``. It grows without bound as
    ``kappa * alpha`` falls to 1, where the integral diverges; at and below 1 the value is ``+inf``.

    Args:
        alpha: shape, ``alpha > 0``.
        beta: scale in the units of the residual, ``beta > 0``.
        kappa: tail weight, ``kappa > 1/alpha``; a plain ``1.0`` takes the cheapest path.
        tail_index: ``kappa * alpha - 1``, from whoever knows it to more digits than the product has.

    Returns:
        Tensor of the broadcast shape. Twice differentiable in all three arguments; made of elementwise
        torch operations only, so that ``torch.compile(fullgraph=True)`` and ``torch.func.vmap`` take it.
        For that reason values are not checked here: ``GeneralizedT`` and ``ALCLoss`` check theirs.

    In float64 ``Z`` is good to 1e-10 for alpha in (1, 20], beta in [1e-4, 1e4], kappa in (1/alpha, 50]. In
    float32 the difference of log-gammas costs about ``1e-7 * kappa * log(kappa)``.

    >>> log_normalizer(2.0, 1.0).exp()  # Cauchy: pi
    tensor(3.1416)
    """
    tensors = [x for x in (alpha, beta, kappa) if isinstance(x, Tensor)]
    reference = tensors[0] if tensors else torch.empty(())
    alpha, beta = (
        x if isinstance(x, Tensor) else torch.as_tensor(x, dtype=reference.dtype, device=reference.device)
        for x in (alpha, beta)
    )
    b = (_tail_index(alpha, kappa) if tail_index is None else tail_index) / alpha
    value = torch.log(2 * beta / alpha) + torch.lgamma(1 / alpha)
    value = value + torch.where(b > 0, torch.lgamma(b), torch.inf)
    if isinstance(kappa, Number):
        return value if kappa == 1 else value - math.lgamma(kappa)
    return value - torch.lgamma(kappa)


def log_normalizer_in_numbers(
    alpha: float, beta: float, kappa: float = 1.0
) -> tuple[float, tuple[float, float, float]]:
    """``log Z`` and its derivatives in alpha, beta, kappa, of plain numbers in double precision; see `log_normalizer`.

    The derivatives are digamma functions: of B(1/alpha, kappa - 1/alpha) in its two arguments.

    >>> log_z, (in_alpha, in_beta, in_kappa) = log_normalizer_in_numbers(2.0, 0.5)
    >>> round(math.exp(log_z), 4), in_beta
    (1.5708, 2.0)
    """
    tail_index = kappa * alpha - 1
    if tail_index < 1e-3:  # the product was rounded before 1 was taken from it
        tail_index = float(Fraction(kappa) * Fraction(alpha) - 1)
    a, b = 1 / alpha, tail_index / alpha
    log_z = math.log(2 * beta / alpha) + math.lgamma(a) + math.lgamma(b) - math.lgamma(kappa)
    tail = float(special.digamma(b))
    return log_z, (-a + a * a * (tail - float(special.digamma(a))), 1 / beta, tail - float(special.digamma(kappa)))


def _log_ratio(e: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    """``log|e/beta|`` and the mask of residuals to be treated as zero (there the logarithm is replaced by 0).

    Subnormal residuals count as zero: their reciprocal overflows in the backward pass.
    """
    zero = e.abs() < torch.finfo(e.dtype).tiny
    return torch.where(zero, torch.ones_like(e), e.abs()).log() - beta.log(), zero


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

    Everything is differentiable in the parameters but ``cdf`` and ``icdf``, whose derivatives in ``alpha``
    and ``kappa`` have no closed form (see there).

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
        self.alpha, self.beta, self.kappa = broadcast_all(alpha, beta, kappa)
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
        return _tail_index(self.alpha, self.kappa)

    @property
    def _beta_parameters(self) -> tuple[Tensor, Tensor]:
        """``a = 1/alpha`` and ``b = kappa - 1/alpha``, the law of ``v``."""
        return 1 / self.alpha, self.tail_index / self.alpha

    # -- density -------------------------------------------------------------------------------------------

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of residuals ``value`` (any shape that broadcasts); finite for every finite residual.

        Gradients at ``e = 0`` are 0, the true value for ``alpha > 1``.
        """
        if self._validate_args:
            self._validate_sample(value)
        log_u, zero = _log_ratio(value, self.beta)
        # threshold: torch's default of 20 drops exp(-20) = 2e-9, which float64 can see
        growth = functional.softplus(self.alpha * log_u, threshold=40)
        growth = torch.where(zero, torch.zeros_like(growth), growth)
        return -self.kappa * growth - log_normalizer(self.alpha, self.beta, self.kappa)

    def score(self, value: Tensor) -> Tensor:
        """Derivatives of ``log_prob`` in (location, alpha, beta, kappa), in closed form.

        The location entry is the influence function ``psi(e)``, since ``d/d(location) = -d/de``. At
        ``e = 0`` it is set to 0: its value for ``alpha > 1``, the middle of its jump for ``alpha = 1``.

        Returns:
            Tensor of shape ``broadcast(value.shape, batch_shape) + (4,)``, ordered as ``PARAMETERS``.
        """
        alpha, beta, kappa = self.alpha, self.beta, self.kappa
        a, b = self._beta_parameters
        log_u, zero = _log_ratio(value, beta)
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
        in ``value`` and ``beta``; a gradient in ``alpha`` or ``kappa`` raises ``NotImplementedError``.
        """
        if self._validate_args:
            self._validate_sample(value)
        return _Cdf.apply(value, self.alpha, self.beta, self.kappa)

    def icdf(self, value: Tensor) -> Tensor:
        """Quantile function, for probabilities in [0, 1]; evaluated and differentiated as ``cdf`` is."""
        if self._validate_args and not bool(((value >= 0) & (value <= 1)).all()):
            raise ValueError("value must hold probabilities in [0, 1]")
        return _Quantile.apply(value, self.alpha, self.beta, self.kappa)

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
        alpha: float = 2.0,
        beta: float | None = None,
        kappa: float = 1.0,
        max_iterations: int = 100,
    ) -> GeneralizedT:
        """Maximum likelihood from residuals centred at zero, by Newton's method within a trust region.

        Args:
            samples: finite residuals, any shape; converted to float64.
            learn: which of "alpha", "beta", "kappa" to estimate; the others stay at the values given.
            alpha, beta, kappa: starting (or fixed) values; ``beta=None`` starts at the median ``|e|``.
            max_iterations: steps allowed; ten is typical.

        Returns:
            The fitted distribution, with scalar float64 parameters. Standard errors come from the inverse of
            the rows and columns of ``fisher_information()`` that were learned, divided by the sample size.

        Raises:
            ValueError: bad samples, an unknown name in ``learn``, or an illegal starting value.
            RuntimeError: no interior maximum was reached: tails as light as a generalized Gaussian's send
                kappa to infinity, and too many exact zeros send beta to 0 (notebook 03).
        """
        e, learned = _check_fit_input(samples, learn)
        unit = e[e != 0].abs().median()  # work at scale 1, and undo it at the end
        initial = (alpha, unit if beta is None else beta, kappa)
        given = cls(*(torch.as_tensor(x, dtype=torch.float64) for x in initial), validate_args=True)
        if not learned:
            return given
        start = cls(given.alpha, given.beta / unit, given.kappa)
        e = e / unit
        index = [PARAMETERS.index(name) for name in learned]

        def information(at: GeneralizedT) -> Tensor:  # in the coordinates of _at_coordinates
            jacobian = _coordinate_jacobian(at, learned)
            return jacobian.T @ at.fisher_information()[index][:, index] @ jacobian

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

        with torch.no_grad(), np.errstate(all="ignore"):
            x = optimize.minimize(
                loss,
                np.zeros(len(learned)),
                jac=gradient,
                hess=hessian,
                method="trust-exact",
                options={"gtol": 1e-8, "maxiter": max_iterations, "max_trust_radius": 4.0},
            ).x
            fitted = _at_coordinates(start, learned, torch.as_tensor(x))
            # Judge by statistics, not by the optimiser's flag: interior, and a thousandth of a standard error
            # from stationary.
            far = [100.0 if name == "beta" else 15.0 for name in learned]
            if (np.abs(x) < far).all():
                left = torch.as_tensor(gradient(x))
                newton_step = torch.linalg.pinv(information(fitted)) @ left
                if len(e) * left @ newton_step < 1e-6:
                    return cls(fitted.alpha, fitted.beta * unit, fitted.kappa)
        raise RuntimeError(
            "no interior maximum of the likelihood was reached (now at "
            f"alpha={float(fitted.alpha):.4g}, beta={float(fitted.beta * unit):.4g}, "
            f"kappa={float(fitted.kappa):.4g}): tails lighter than a power law send alpha or kappa to "
            "infinity, many exact zeros send beta to 0; learn fewer parameters, or fix kappa"
        )


# -- helpers -----------------------------------------------------------------------------------------------


def _check_parameters(alpha: Tensor, beta: Tensor, kappa: Tensor) -> None:
    """One ValueError naming the first parameter that is out of range, and the legal values."""
    for name, value in (("alpha", alpha), ("beta", beta), ("kappa", kappa)):
        legal = (value > 0) & value.isfinite()
        if not bool(legal.all()):
            raise ValueError(f"{name} must be positive and finite, got {float(value[~legal].flatten()[0]):g}")
    improper = _tail_index(alpha, kappa) <= 0
    if bool(improper.any()):
        worst_alpha, worst_kappa = float(alpha[improper].flatten()[0]), float(kappa[improper].flatten()[0])
        raise ValueError(
            f"alpha must exceed 1/kappa, or the density has no finite normaliser: with kappa={worst_kappa:g} "
            f"legal values are alpha > {1 / worst_kappa:g}, got {worst_alpha:g}"
        )


def _check_fit_input(samples: Tensor, learn: Sequence[str]) -> tuple[Tensor, list[str]]:
    learned = [learn] if isinstance(learn, str) else list(learn)
    unknown = set(learned) - set(PARAMETERS[1:])
    if unknown or len(set(learned)) < len(learned):
        raise ValueError(f"learn must hold distinct names among 'alpha', 'beta', 'kappa', got {learn!r}")
    e = torch.as_tensor(samples).detach().to("cpu", torch.float64).flatten()
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


# Below this log(w), I_w(p, q) = w^p / (p B(p, q)) to machine precision, and w itself may underflow.
_SMALL = -50.0


def _log_small_constant(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return np.log(p) + special.betaln(p, q)


def _regularized_beta(log_w: np.ndarray, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """``I_w(p, q)`` from ``log(w)``."""
    series = np.exp(np.minimum(p * log_w - _log_small_constant(p, q), 0.0))
    return np.where(log_w < _SMALL, series, special.betainc(p, q, np.exp(log_w)))


def _log_inverse_beta(probability: np.ndarray, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """``log(w)`` such that ``I_w(p, q) = probability``."""
    with np.errstate(all="ignore"):  # 0, 1 and underflow all have their limits below
        series = (np.log(probability) + _log_small_constant(p, q)) / p
        w = special.betaincinv(p, q, probability)
        # one Newton step: betaincinv alone is good to about 1e-8
        slope = np.exp(p * np.log(w) + (q - 1) * np.log1p(-w) - special.betaln(p, q))
        step = (special.betainc(p, q, w) - probability) / slope
        log_w = np.log(w) - np.where(np.abs(step) < 1e-3, step, 0.0)
        return np.where(series < _SMALL, series, log_w)


def _as_float64(*tensors: Tensor) -> list[np.ndarray]:
    return [x.detach().to("cpu", torch.float64).numpy() for x in torch.broadcast_tensors(*tensors)]


def _beta_parameters_float64(alpha: Tensor, kappa: Tensor) -> tuple[np.ndarray, np.ndarray]:
    alpha, kappa = (x.detach().to("cpu", torch.float64) for x in (alpha, kappa))
    return (1 / alpha).numpy(), (_tail_index(alpha, kappa) / alpha).numpy()


_NO_GRADIENT = (
    "cdf and icdf have no gradient in alpha or kappa (the incomplete beta function's has no closed form); "
    "detach them, or differentiate an expectation through rsample()"
)


class _Cdf(torch.autograd.Function):
    """The regularized incomplete beta function, with the density as its derivative."""

    @staticmethod
    def forward(ctx, value, alpha, beta, kappa):
        ctx.save_for_backward(value, alpha, beta, kappa)
        value_, alpha_, beta_, kappa_ = torch.broadcast_tensors(value, alpha, beta, kappa)
        e, scale = _as_float64(value_, beta_)
        a, b = _beta_parameters_float64(alpha_, kappa_)
        with np.errstate(divide="ignore"):
            logit = (np.log(np.abs(e)) - np.log(scale)) / a
        # from v and from 1 - v, both by their logarithms; the first loses the tail, the second the centre
        inner = _regularized_beta(-np.logaddexp(0, -logit), a, b)
        outer = _regularized_beta(-np.logaddexp(0, logit), b, a)
        lower = np.where((inner < 0.9) & (logit < 0), 0.5 - 0.5 * inner, 0.5 * outer)
        result = np.where(e < 0, lower, 1 - lower)
        return torch.as_tensor(result).to(device=value_.device, dtype=torch.result_type(value, alpha))

    @staticmethod
    def backward(ctx, grad):
        value, alpha, beta, kappa = ctx.saved_tensors
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[3]:
            raise NotImplementedError(_NO_GRADIENT)
        flow = grad * GeneralizedT(alpha, beta, kappa, validate_args=False).log_prob(value).exp()
        return flow.sum_to_size(value.shape), None, (-flow * value / beta).sum_to_size(beta.shape), None


class _Quantile(torch.autograd.Function):
    """Inverse of ``_Cdf``; the reciprocal density as its derivative."""

    @staticmethod
    def forward(ctx, value, alpha, beta, kappa):
        value_, alpha_, beta_, kappa_ = torch.broadcast_tensors(value, alpha, beta, kappa)
        probability, scale = _as_float64(value_, beta_)
        a, b = _beta_parameters_float64(alpha_, kappa_)
        central = np.abs(2 * probability - 1)
        tail = 2 * np.minimum(probability, 1 - probability)
        with np.errstate(divide="ignore", over="ignore"):
            log_v, log_w = _log_inverse_beta(central, a, b), _log_inverse_beta(tail, b, a)
            inner, outer = log_v - np.log1p(-np.exp(log_v)), np.log1p(-np.exp(log_w)) - log_w
            # The first is ill-conditioned where v is near 1, the second where v is small; far in the tail
            # only the second still sees the probability.
            log_odds = np.where((central < 0.9) & (log_v < np.log(0.5)), inner, outer)
            result = np.sign(probability - 0.5) * np.exp(np.log(scale) + a * log_odds)
        result = torch.as_tensor(result).to(device=value_.device, dtype=torch.result_type(value, alpha))
        ctx.save_for_backward(result, value, alpha, beta, kappa)
        return result

    @staticmethod
    def backward(ctx, grad):
        result, value, alpha, beta, kappa = ctx.saved_tensors
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[3]:
            raise NotImplementedError(_NO_GRADIENT)
        slope = 1 / GeneralizedT(alpha, beta, kappa, validate_args=False).log_prob(result).exp()
        to_beta = (grad * result / beta).sum_to_size(beta.shape)
        return (grad * slope).sum_to_size(value.shape), None, to_beta, None
