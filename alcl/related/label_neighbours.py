"""Losses for noisy labels that the joint asymmetric loss is compared with: each with its formula and its source.

All are functions of logits (N, K) and labels (N,), as those of `label_losses`, whose catalogue holds them. p is the
softmax of the logits, p_y the probability of the given label.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ._label_base import ClassificationLoss, _at, _number, _wrong
from .label_heights import check_transition
from .label_noise import transition_matrix

__all__ = [
    "AELLoss",
    "AGCELoss",
    "ALDRKLLoss",
    "AULLoss",
    "CompSumLoss",
    "ForwardCorrectionLoss",
    "MixtureLoss",
    "NCEAGCELoss",
    "SCELoss",
    "SquentropyLoss",
    "forward_for",
]


# --- the asymmetric losses of Zhou et al. (ICML 2021; arXiv 2106.03110) -----------------------------------------------


class AGCELoss(ClassificationLoss):
    """Asymmetric generalized cross-entropy ((a + 1)^q - (a + p_y)^q) / q, a >= 0, q > 0 (Zhou et al., 2021).

    a = 0 is GCE. The default constants are the authors' for CIFAR-10. `least_ratio` is the w_m / w_n from which on the
    weighted loss is minimised at the vertex of the most frequent label m.

        >>> AGCELoss()(torch.tensor([[2.0, 0.0]]), torch.tensor([0])), round(AGCELoss().least_ratio, 3)
        (tensor(0.1003), 1.48)
    """

    def __init__(self, a: float = 0.6, q: float = 0.6, reduction: str = "mean"):
        super().__init__(reduction)
        self.a, self.q = _number("a", a, 0.0), _number("q", q, 0.0, open_low=True)

    def per_example(self, log_p: Tensor, labels: Tensor) -> Tensor:
        if self.a == 0:
            return -torch.expm1(self.q * _at(log_p, labels)) / self.q
        return ((self.a + 1) ** self.q - (self.a + _at(log_p, labels).exp()) ** self.q) / self.q

    @property
    def least_ratio(self) -> float:
        """((a + 1)/a)^(1-q) for q < 1, where the loss is convex in p_y; 1 for q >= 1."""
        if self.q >= 1:
            return 1.0
        return ((self.a + 1) / self.a) ** (1 - self.q) if self.a else math.inf

    def extra_repr(self) -> str:
        return f"a={self.a}, q={self.q}"


class AULLoss(ClassificationLoss):
    """Asymmetric unhinged loss ((a - p_y)^q - (a - 1)^q) / q, a > 1, q > 0 (Zhou et al., 2021).

    q = 1 is half of MAE. Constants and `least_ratio` as for `AGCELoss`.

        >>> AULLoss()(torch.tensor([[2.0, 0.0]]), torch.tensor([0])), round(AULLoss().least_ratio, 3)
        (tensor(2.4784), 1.494)
    """

    def __init__(self, a: float = 5.5, q: float = 3.0, reduction: str = "mean"):
        super().__init__(reduction)
        self.a, self.q = _number("a", a, 1.0, open_low=True), _number("q", q, 0.0, open_low=True)

    def per_example(self, log_p: Tensor, labels: Tensor) -> Tensor:
        return ((self.a - _at(log_p, labels).exp()) ** self.q - (self.a - 1) ** self.q) / self.q

    @property
    def least_ratio(self) -> float:
        """(a/(a - 1))^(q-1) for q > 1, where the loss is convex in p_y; 1 for q <= 1."""
        return (self.a / (self.a - 1)) ** (self.q - 1) if self.q > 1 else 1.0

    def extra_repr(self) -> str:
        return f"a={self.a}, q={self.q}"


class AELLoss(ClassificationLoss):
    """Asymmetric exponential loss exp(-p_y / a), a > 0 (Zhou et al., 2021). Constant, `least_ratio`: see `AGCELoss`.

    >>> AELLoss()(torch.tensor([[2.0, 0.0]]), torch.tensor([0])), round(AELLoss().least_ratio, 3)
    (tensor(0.7031), 1.492)
    """

    def __init__(self, a: float = 2.5, reduction: str = "mean"):
        super().__init__(reduction)
        self.a = _number("a", a, 0.0, open_low=True)

    def per_example(self, log_p: Tensor, labels: Tensor) -> Tensor:
        return (-_at(log_p, labels).exp() / self.a).exp()

    @property
    def least_ratio(self) -> float:
        """exp(1/a): the loss is convex in p_y."""
        return math.exp(1 / self.a)

    def extra_repr(self) -> str:
        return f"a={self.a}"


class NCEAGCELoss(ClassificationLoss):
    """active * NCE + passive * AGCE: an asymmetric loss in the active-passive frame, four years before JAL.

    Zhou et al. (2021); the defaults (1, 4, a = 6, q = 1.5) are theirs for CIFAR-10.

        >>> NCEAGCELoss()(torch.tensor([[2.0, 0.0]]), torch.tensor([0]))
        tensor(1.3125)
    """

    def __init__(
        self, active: float = 1.0, passive: float = 4.0, a: float = 6.0, q: float = 1.5, reduction: str = "mean"
    ):
        super().__init__(reduction)
        self.active, self.passive = _number("active", active, 0.0), _number("passive", passive, 0.0)
        self._agce = AGCELoss(a, q, "none")

    def per_example(self, log_p: Tensor, labels: Tensor) -> Tensor:
        nce = _at(log_p, labels) / log_p.sum(1)
        return self.active * nce + self.passive * self._agce.per_example(log_p, labels)

    def extra_repr(self) -> str:
        return f"active={self.active}, passive={self.passive}"


# --- losses from elsewhere --------------------------------------------------------------------------------------------


class SCELoss(ClassificationLoss):
    """Symmetric cross-entropy alpha * CE + beta * RCE, RCE = -log(floor) (1 - p_y) (Wang et al., ICCV 2019).

    alpha = 0.1, beta = 1 are the authors' for CIFAR-10; floor = 1e-4 is that of JAL's comparison.

        >>> SCELoss()(torch.tensor([[2.0, 0.0]]), torch.tensor([0]))
        tensor(1.1106)
    """

    def __init__(self, alpha: float = 0.1, beta: float = 1.0, floor: float = 1e-4, reduction: str = "mean"):
        super().__init__(reduction)
        self.alpha, self.beta = _number("alpha", alpha, 0.0), _number("beta", beta, 0.0)
        self.floor = _number("floor", floor, 0.0, 1.0, open_low=True)

    def per_example(self, log_p: Tensor, labels: Tensor) -> Tensor:
        return -self.alpha * _at(log_p, labels) - self.beta * math.log(self.floor) * _wrong(log_p, labels)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}, beta={self.beta}, floor={self.floor}"


class CompSumLoss(ClassificationLoss):
    """Comp-sum losses (p_y^(tau-1) - 1) / (1 - tau), 0 <= tau <= 2 (Mao, Mohri and Zhong, ICML 2023; 2304.07288).

    One family for the losses of p_y alone: tau = 0 sum-exponential 1/p_y - 1, tau = 1 cross-entropy, 1 < tau < 2 GCE
    with q = tau - 1, tau = 2 half of MAE. Under noise w the minimiser is p_i proportional to w_i^(1/(2-tau)): below
    tau = 1 it is flatter than the noise itself.

        >>> CompSumLoss(0.0)(torch.tensor([[0.0, 0.0]]), torch.tensor([0]))
        tensor(1.)
    """

    def __init__(self, tau: float = 1.0, reduction: str = "mean"):
        super().__init__(reduction)
        self.tau = _number("tau", tau, 0.0, 2.0)

    def per_example(self, log_p: Tensor, labels: Tensor) -> Tensor:
        q, log_p_y = self.tau - 1, _at(log_p, labels)
        return -torch.expm1(q * log_p_y) / q if q else -log_p_y

    def extra_repr(self) -> str:
        return f"tau={self.tau}"


class SquentropyLoss(ClassificationLoss):
    """Cross-entropy + (1/(K-1)) sum_{k != y} z_k^2 of the logits z (Hui, Belkin and Wright, ICML 2023; 2302.03952).

    The square of the wrong classes' logits holds the scale of z down; it depends on z, not on p alone.

        >>> SquentropyLoss()(torch.tensor([[2.0, 1.0, -1.0]]), torch.tensor([0]))
        tensor(1.3490)
    """

    def of_logits(self, logits: Tensor, labels: Tensor) -> Tensor:
        square = logits.square()
        others = (square.sum(1) - _at(square, labels)) / (logits.shape[1] - 1)
        return others - _at(logits.log_softmax(1), labels)


class ALDRKLLoss(ClassificationLoss):
    """Adaptive LDR-KL: a cross-entropy with a temperature for every example (Zhu, Ying and Yang, ICML 2023).

    With d_k = z_k - z_y + margin (k != y), d_y = 0, the loss is the maximum over the temperature lambda of

        lambda log((1/K) sum_k exp(d_k / lambda)) - (c/2) (lambda - lambda_0)^2,   c = alpha log(K) / lambda_0,

    arXiv 2112.14869. It is stationary at lambda = lambda_0 - KL(r, uniform)/c, r_k proportional to exp(d_k/lambda):
    the clearer an example, the lower its temperature, down to lambda_0 (1 - 1/alpha). Iterating that from lambda_0
    falls to the largest such lambda, a local maximum. The published code makes one step of it each time an example
    comes up again, and keeps the temperatures between epochs; here `steps` steps are made anew, so that the loss is a
    function of its arguments. As there, logits are first divided by their mean magnitude (if above 1e-3).

        >>> ALDRKLLoss()(torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([0]))
        tensor(-0.8056)

    Args:
        margin: at least 0. lambda_0: temperature of an example that tells nothing, above 0. alpha: above 1, how stiff
            temperatures are. Defaults: the published code's, with lambda_0 from its grid.
        normalise: divide logits by their mean magnitude. steps: at least 1.
    """

    def __init__(
        self,
        margin: float = 0.1,
        lambda_0: float = 1.0,
        alpha: float = 2.0,
        normalise: bool = True,
        steps: int = 20,
        reduction: str = "mean",
    ):
        super().__init__(reduction)
        self.margin, self.lambda_0 = _number("margin", margin, 0.0), _number("lambda_0", lambda_0, 0.0, open_low=True)
        self.alpha, self.normalise = _number("alpha", alpha, 1.0, open_low=True), bool(normalise)
        self.steps = int(_number("steps", steps, 1))

    def differences(self, logits: Tensor, labels: Tensor) -> Tensor:
        """d, (N, K)."""
        if self.normalise:
            logits = logits / logits.abs().mean(1, keepdim=True).clamp(min=1e-3)
        return (logits - _at(logits, labels)[:, None] + self.margin).scatter(1, labels[:, None], 0.0)

    @torch.no_grad()
    def temperatures(self, logits: Tensor, labels: Tensor) -> Tensor:
        """lambda of each example, (N,)."""
        return self._temperatures(self.differences(logits, labels)).squeeze(1)

    def _stiffness(self, classes: int) -> float:
        return self.alpha * math.log(classes) / self.lambda_0

    @torch.no_grad()
    def _temperatures(self, d: Tensor) -> Tensor:
        classes = d.shape[1]
        found = torch.full_like(d[:, :1], self.lambda_0)
        for _ in range(self.steps):
            log_r = (d / found).log_softmax(1)
            divergence = (log_r.exp() * log_r).sum(1, keepdim=True) + math.log(classes)
            found = self.lambda_0 - divergence / self._stiffness(classes)
        return found

    def of_logits(self, logits: Tensor, labels: Tensor) -> Tensor:
        d, classes = self.differences(logits, labels), logits.shape[1]
        found = self._temperatures(d)  # a constant of the gradient: the loss is stationary in it
        soft = found * ((d / found).logsumexp(1, keepdim=True) - math.log(classes))
        return (soft - self._stiffness(classes) / 2 * (found - self.lambda_0) ** 2).squeeze(1)

    def extra_repr(self) -> str:
        return f"margin={self.margin}, lambda_0={self.lambda_0}, alpha={self.alpha}"


# --- models of the noise ----------------------------------------------------------------------------------------------


class ForwardCorrectionLoss(ClassificationLoss):
    """-log sum_j p_j T_jy: cross-entropy of the labels that are given, T their known transition matrix.

    Patrini et al., CVPR 2017. The minimiser of the expected loss is the distribution of the true label.

        >>> noise = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
        >>> ForwardCorrectionLoss(noise)(torch.tensor([[0.0, 0.0]]), torch.tensor([0]))
        tensor(0.5978)

    Args:
        transition: (K, K), T_ij the probability that an image of class i is given label j; every label occurs.
    """

    log_transition: Tensor

    def __init__(self, transition: Tensor, reduction: str = "mean"):
        super().__init__(reduction)
        matrix = check_transition(transition)
        if not bool((matrix > 0).any(0).all()):
            raise ValueError("transition must give every label to some class: a column is all 0")
        self.register_buffer("log_transition", matrix.log())

    def per_example(self, log_p: Tensor, labels: Tensor) -> Tensor:
        if log_p.shape[1] != len(self.log_transition):
            raise ValueError(
                f"logits must have the {len(self.log_transition)} classes of transition; got {log_p.shape[1]}"
            )
        return -(log_p + self.log_transition.to(log_p.dtype).t()[labels]).logsumexp(1)


def forward_for(
    noise: str = "symmetric", rate: float = 0.4, dataset: str = "digits", classes: int = 10, reduction: str = "mean"
) -> ForwardCorrectionLoss:
    """`ForwardCorrectionLoss` told the kind and rate of the noise: see `label_noise.transition_matrix`.

    >>> forward_for("symmetric", 0.4).log_transition.exp().diagonal()[0].item()
    0.6...
    """
    return ForwardCorrectionLoss(transition_matrix(noise, rate, classes, dataset), reduction)


class MixtureLoss(ClassificationLoss):
    """-log((1 - eps) p_y + eps / K), eps learned: a fraction of labels tells nothing, as in contaminated regression.

    The counterpart for labels of `alcl.contaminated.ContaminatedALCLoss`, the model of gross errors of Tukey (1960)
    with the uniform distribution over classes. At eps = eta K/(K - 1) it is forward correction for symmetric noise of
    rate eta. But the data do not fix eps where the network can fit anything (notebook 08, Theorem C6).

        >>> loss = MixtureLoss(eps=0.2)
        >>> loss(torch.tensor([[0.0, -50.0]]), torch.tensor([1])).exp().item()  # 1 / (eps / K)
        10.0...

    Args:
        eps: initial fraction, in (0, 1). learn: whether its logit is a parameter; give `parameters()` to the optimizer.
    """

    logit: Tensor

    def __init__(self, eps: float = 0.1, learn: bool = True, reduction: str = "mean"):
        super().__init__(reduction)
        eps = _number("eps", eps, 0.0, 1.0, open_low=True)
        if eps == 1:
            raise ValueError("eps must be finite, above 0 and below 1; got 1")
        logit = torch.tensor(math.log(eps) - math.log1p(-eps))
        if learn:
            self.logit = nn.Parameter(logit)
        else:
            self.register_buffer("logit", logit)

    @property
    def eps(self) -> float:
        """The fraction now."""
        return self.logit.detach().sigmoid().item()

    def per_example(self, log_p: Tensor, labels: Tensor) -> Tensor:
        clean, noise = nn.functional.logsigmoid(-self.logit), nn.functional.logsigmoid(self.logit)
        return -torch.logaddexp(clean + _at(log_p, labels), noise - math.log(log_p.shape[1]))

    def extra_repr(self) -> str:
        return f"eps={self.eps:.3g}"
