"""The contaminated and the censored loss with one value of each parameter on the CPU: `alcl._kernels.Whole`'s part.

A pass over a piece of residuals returns what the sum of -log p is there and what its derivatives in alpha, beta, kappa
and the logit of eps are, normaliser included, and puts in the place of every residual its own derivative. With q the
density, u that of the contamination and w = (1 - eps) q / p the share of q in p = (1 - eps) q + eps u, the derivatives
are w times those of -log q, and eps - (1 - w) for the logit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from . import _kernels as kernels
from ._tails import _log_survival, _steps, places

Sums = tuple[float, float, float, float, float]
#: Where float32 keeps its digits with every factor of a mixture in the open; beyond, the logarithms are worked with.
LEAST, MOST = 1e-30, 1e30


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
        buffers = slope.new_empty(5 if self.limits is None else 6, size)
        broken = self.strict and not _all_finite(slope, target)
        sums = []
        for piece, of_target in zip(slope.split(size), target.split(size), strict=True):
            sums.append(self._pass(piece, of_target, unit, buffers))
        value, *slopes = (math.fsum(column) for column in zip(*sums, strict=True))
        return math.nan if broken else unit * value, slope.view(shape), [unit * s for s in slopes]

    def _pass(self, e: Tensor, target: Tensor, unit: float, buffers: Tensor) -> Sums:
        if self.limits is None:
            return self._of_densities(e, unit, buffers)
        low, high = target <= self.limits[0], target >= self.limits[1]
        at_limit = low | high
        inside, outside = places(~at_limit), places(at_limit)
        parts = [(0.0,) * 5]
        if len(inside):
            part = torch.index_select(e, 0, inside, out=buffers[5, : len(inside)])
            parts.append(self._of_densities(part, unit, buffers))
            e.index_copy_(0, inside, part)
        if len(outside):
            sign = high.index_select(0, outside).to(e.dtype).mul_(-2).add_(1)
            part = e.index_select(0, outside).mul_(sign)  # how far the prediction is on the wrong side
            sums, of_x = self._of_tails(part)
            parts.append(sums)
            e.index_copy_(0, outside, of_x.mul_(sign).mul_(unit))
        return tuple(map(math.fsum, zip(*parts, strict=True)))

    def _of_densities(self, e: Tensor, unit: float, buffers: Tensor) -> Sums:
        core, count = self.core, e.numel()
        if not self.eps:
            phi, d_alpha, d_beta = kernels._replace(e, core, unit, buffers[:3])
            z_alpha, z_beta, z_kappa = (count * z for z in core.log_z_slopes)
            value = core.kappa * phi + count * core.log_z
            return value, d_alpha + z_alpha, d_beta + z_beta, phi + z_kappa, 0.0
        _, alpha, beta, kappa, log_z, z_slopes, *_ = core
        info, log2_beta = torch.finfo(e.dtype), math.log2(beta)
        log2_e, h, w, p, log_w = buffers[:5].narrow(1, 0, count).unbind()
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
        value = -_sum_of_logs(p, floor > 1e-9 and floor + height < 1e9)
        total = w.sum().item()
        of_kappa = -torch.dot(w, log_w).item() if any(link[2] for link in self.chain) else 0.0
        h.mul_(w)
        h_sum, h_log = h.sum().item(), torch.dot(h, log2_e).item()
        h.mul_(torch.sgn(e, out=p))  # 0 at 0, where the gradient is 0
        e.abs_().clamp_min_(info.tiny)
        torch.addcdiv(e.new_zeros(()), h, e, value=unit * kappa * alpha, out=e)
        return (
            value,
            kappa * math.log(2.0) * (h_log - log2_beta * h_sum) + total * z_slopes[0],
            -kappa * alpha / beta * h_sum + total * z_slopes[1],
            of_kappa + total * z_slopes[2],
            self.eps * count - (count - total),
        )

    def _of_tails(self, x: Tensor) -> tuple[Sums, Tensor]:
        """The sums, and the derivatives of -log P in x."""
        _, alpha, beta, kappa, *_ = self.core
        if self.cauchy:
            u = x / beta
            angle = torch.atan2(torch.ones_like(u), u)
            value = (angle / math.pi).log_()
            u.clamp_(-1e15, 1e15)
            of_u = -1 / ((1 + u * u) * angle)
            slopes = (of_u / beta, u.mul_(of_u).div_(-beta))
        else:
            b = (self.core.kappa * alpha - 1) / alpha
            value, of_x, of_alpha, of_beta, of_b = _log_survival(x, alpha, beta, b, _steps(x.dtype, kappa))
            slopes = (of_x, of_beta, of_alpha.add_(of_b, alpha=1 / alpha**2), of_b)
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
