"""The contaminated and the censored loss with one value of each parameter on the CPU: `alcl._kernels.Whole`'s part.

A pass over a piece of residuals returns what the sum of -log p is there and what its derivatives in alpha, beta, kappa
and the logit of eps are, normaliser included, and puts in the place of every residual its own derivative. With q the
density, u that of the contamination and w = (1 - eps) q / p the share of q in p = (1 - eps) q + eps u, the derivatives
are w times those of -log q, and eps - (1 - w) for the logit.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from . import _kernels as kernels
from ._tails import edge, in_numbers

Sums = tuple[float, float, float, float, float]
#: Where float32 keeps its digits with every factor of a mixture in the open; beyond, the logarithms are worked with.
LEAST, MOST = 1e-30, 1e30
_LN2 = kernels._LN2


class Setting(NamedTuple):
    """Everything that a contaminated or censored loss with scalar parameters needs, as plain numbers."""

    core: kernels.Setting
    chain: Sequence[tuple[float, float, float, float]]  # (alpha, beta, kappa, logit of eps) by each raw parameter
    eps: float = 0.0  # 0: no contamination
    density: float = 0.0  # of the contamination
    atom: float = 0.0  # its mass at a limit
    limits: tuple[float, float] | None = None
    cauchy: bool = False  # alpha = 2 and kappa = 1, and neither is learned
    strict: bool = False

    def whole(self, input: Tensor, target: Tensor, mean: bool) -> tuple[float, Tensor, list[float]]:
        shape, count = input.shape, input.numel()
        input, target = input.contiguous().view(-1), target.contiguous().view(-1)
        slope = input - (target if self.limits is None else target.clamp(*self.limits))
        unit = 1 / count if mean else 1.0
        size = min(count, kernels._PIECE * torch.get_num_threads())
        buffers = slope.new_empty(5, size)
        broken = self.strict and not _all_finite(slope, target)
        sums = []
        for piece, of_target in zip(slope.split(size), target.split(size), strict=True):
            sums.append(self._pass(piece, of_target, unit, buffers))
        value, *slopes = (math.fsum(column) for column in zip(*sums, strict=True))
        return math.nan if broken else unit * value, slope.view(shape), [unit * s for s in slopes]

    def _pass(self, e: Tensor, target: Tensor, unit: float, buffers: Tensor) -> Sums:
        if self.limits is None:
            return self._of_densities(e, unit, buffers)
        values, row = target.detach().numpy(), e.numpy()  # whose comparisons and indices cost a tenth of torch's
        high = values >= self.limits[1]
        outside = np.flatnonzero((values <= self.limits[0]) | high)
        if not len(outside):
            return self._of_densities(e, unit, buffers)
        far = 0
        if not self.cauchy:
            beyond = np.abs(row[outside]) >= edge(e.dtype, *self.core[1:4])
            far = len(found := np.flatnonzero(beyond))
            outside = outside[np.concatenate((found, np.flatnonzero(~beyond)))]
        sign = 1 - 2 * high[outside].astype(row.dtype)
        x = torch.from_numpy(row[outside] * sign)  # how far the prediction is on the wrong side
        row[outside] = self.core.beta
        inside = self._of_densities(e, unit, buffers, len(outside))
        tails, of_x = self._of_tails(x, far)
        row[outside] = of_x.mul_(unit).numpy() * sign
        return tuple(map(operator.add, inside, tails))

    def _of_densities(self, e: Tensor, unit: float, buffers: Tensor, without: int = 0) -> Sums:
        """`without`: so many are beta and do not count. (Picking out the others would cost more than what those add is
        worth, which is known: v = 1/2, and log|e/beta| = 0.)"""
        core, count = self.core, e.numel() - without
        if not self.eps:
            phi, d_alpha, d_beta = kernels._replace(e, core, unit, buffers[:3])
            phi, d_beta = phi - without * _LN2, d_beta + without * core.kappa * core.alpha / (2 * core.beta)
            z_alpha, z_beta, z_kappa = (count * z for z in core.log_z_slopes)
            value = core.kappa * phi + count * core.log_z
            return value, d_alpha + z_alpha, d_beta + z_beta, phi + z_kappa, 0.0
        _, alpha, beta, kappa, log_z, z_slopes, *_ = core
        info, log2_beta = torch.finfo(e.dtype), math.log2(beta)
        log2_e, h, w, p, log_w = buffers[:5].narrow(1, 0, e.numel()).unbind()
        kernels._in_place("log2", torch.abs(e, out=log2_e).clamp_min_(info.tiny))
        torch.add(e.new_full((), -alpha * log2_beta), log2_e, alpha=alpha, out=h)
        h.clamp_max_(math.log2(info.max) - 5).exp2_()
        torch.add(h, 1, out=w).reciprocal_()  # 1 - v
        h.mul_(w)  # v
        height, floor = (1 - self.eps) * math.exp(-log_z), self.eps * self.density
        if kappa == 1:
            if len(self.chain) and any(link[2] for link in self.chain):
                torch.log(w, out=log_w)
            w.mul_(height)
        else:
            torch.log(w, out=log_w)
            torch.mul(log_w, kappa, out=w).exp_().mul_(height)
        torch.add(w, floor, out=p)
        w.div_(p)
        known = height * 2**-kappa + floor  # p of those that do not count, and their w
        known_w = without * height * 2**-kappa / known
        value = without * math.log(known) - _sum_of_logs(p, floor > 1e-9 and floor + height < 1e9)
        total = w.sum().item() - known_w
        of_kappa = -torch.dot(w, log_w).item() - known_w * _LN2 if any(link[2] for link in self.chain) else 0.0
        h.mul_(w)
        h_sum, h_log = h.sum().item() - known_w / 2, torch.dot(h, log2_e).item() - known_w / 2 * log2_beta
        h.mul_(torch.sgn(e, out=p))  # 0 at 0, where the gradient is 0
        e.abs_().clamp_min_(info.tiny)
        torch.addcdiv(e.new_zeros(()), h, e, value=unit * kappa * alpha, out=e)
        return (
            value,
            kappa * _LN2 * (h_log - log2_beta * h_sum) + total * z_slopes[0],
            -kappa * alpha / beta * h_sum + total * z_slopes[1],
            of_kappa + total * z_slopes[2],
            self.eps * count - (count - total),
        )

    def _of_tails(self, x: Tensor, far: int) -> tuple[Sums, Tensor]:
        """The sums, and the derivatives of -log P in x; the first `far` lie beyond the `edge`."""
        _, alpha, beta, kappa, *_ = self.core
        if self.cauchy:
            u = x / beta
            angle = torch.atan2(torch.ones_like(u), u)
            value = (angle / math.pi).log_()
            u.clamp_(-1e15, 1e15)
            of_u = -1 / ((1 + u * u) * angle)
            slopes = (of_u / beta, u.mul_(of_u).div_(-beta))
        else:
            value, *slopes = in_numbers(x, far, alpha, beta, kappa, any(link[2] for link in self.chain))
        of_logit = 0.0
        if self.eps:
            at_limit = self.eps * self.atom
            of_logit = self.eps * x.numel()
            if at_limit == 0:
                value = value + math.log1p(-self.eps)
            else:
                odds = value + (math.log1p(-self.eps) - math.log(at_limit))
                w, value = odds.sigmoid(), kernels.softplus(odds) + math.log(at_limit)
                slopes = [w * s for s in slopes]
                of_logit -= x.numel() - w.sum().item()
        of_x, *rest = slopes
        of_beta, of_alpha, of_kappa = (*(-s.sum().item() for s in rest), 0.0, 0.0)[:3]
        return (-value.sum().item(), of_alpha, of_beta, of_kappa, of_logit), of_x.neg()


def _all_finite(*rows: Tensor) -> bool:
    return all(math.isfinite(row.sum().item()) or bool(row.isfinite().all()) for row in rows)


def _sum_of_logs(p: Tensor, ordinary: bool) -> float:
    """Sum of log p, in whose place other things are left; where p is of ordinary size, four share a logarithm."""
    quarter = p.numel() // 4
    if ordinary and quarter >= 1024 and p.numel() == 4 * quarter:
        p, q = p.view(2, -1).unbind()
        p, q = p.mul_(q).view(2, -1).unbind()
        p.mul_(q)
    return p.log_().sum().item()
