"""The largest eigenvalue of the loss's Hessian in the input, and what bounds that Hessian: notebook 09, Section 4.

`largest_eigenvalue` needs Hessian-vector products alone, so images may be large. `feature_change` and `head_bend` are
the two factors of Theorem D6, which bounds the curvature of a network of ReLUs by the stability of its features;
`safe_radius` is that of Theorem D7, its converse.

Both statements are claimed in the abstract of arXiv 2405.18499. Ours are derived here: the assumptions, the constants
and the radius are this project's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .label_runs import Classifier

__all__ = ["feature_change", "head_bend", "largest_eigenvalue", "safe_radius"]


def largest_eigenvalue(
    model: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator, steps: int = 20
) -> Tensor:
    """Largest eigenvalue of the Hessian of each example's cross-entropy in its own input, by Lanczos' method; (N,).

    It is never above the true one, up to rounding, and grows with `steps`. A network of ReLUs with K classes has a
    Hessian of rank at most K - 1 (Theorem D5): K steps are exact there.

    Args:
        model: images -> logits, in evaluation mode. images: (N, ...); labels: (N,).
        generator: draws the first direction. steps: Hessian-vector products an image, at least 1; no more than an
            image has pixels are used.

    Raises ValueError if the model is in training mode, or for `steps` below 1.

    >>> model = nn.Sequential(nn.Linear(3, 2, bias=False)).eval()
    >>> _ = model[0].weight.data.copy_(torch.tensor([[2.0, 0.0, 0.0], [-2.0, 0.0, 0.0]]))
    >>> at = torch.zeros(1, 3)  # p = (1/2, 1/2): the Hessian is 4 in the first direction, else 0
    >>> largest_eigenvalue(model, at, torch.tensor([0]), torch.Generator().manual_seed(0)).item()
    4.0
    """
    if model.training:
        raise ValueError("model must be in evaluation mode (model.eval()): batch statistics couple the examples")
    if steps < 1:
        raise ValueError(f"steps must be at least 1; got {steps!r}")
    x = images.detach().requires_grad_()
    loss = F.cross_entropy(model(x), labels, reduction="sum")
    gradient = torch.autograd.grad(loss, x, create_graph=True)[0]
    start = torch.randn(images.shape, generator=generator, dtype=images.dtype).flatten(1)
    basis = [F.normalize(start, dim=1)]
    diagonal, off = [], []
    for _ in range(min(steps, start.shape[1])):
        (product,) = torch.autograd.grad(gradient, x, basis[-1].view_as(x), retain_graph=True)
        w = product.flatten(1)
        diagonal.append((w * basis[-1]).sum(1))
        directions = torch.stack(basis, 1)  # (N, steps so far, P)
        for _twice in range(2):  # against all of them, and twice: rounding would let copies of an eigenvalue in
            w = w - torch.einsum("nk,nkp->np", torch.einsum("nkp,np->nk", directions, w), directions)
        length = w.norm(dim=1)
        # Where the space is exhausted w is rounding: a zero row ends the recurrence for that image.
        done = length <= 10 * torch.finfo(w.dtype).eps * torch.stack(diagonal).abs().amax(0)
        off.append(length.masked_fill(done, 0.0))
        basis.append((w / length.clamp(min=torch.finfo(w.dtype).tiny)[:, None]).masked_fill(done[:, None], 0.0))
    tridiagonal = torch.diag_embed(torch.stack(diagonal, 1).double())
    if len(diagonal) > 1:
        side = torch.diag_embed(torch.stack(off[:-1], 1).double(), 1)
        tridiagonal = tridiagonal + side + side.mT
    return torch.linalg.eigvalsh(tridiagonal)[:, -1].to(images.dtype)


def feature_change(model: Classifier, images: Tensor) -> Tensor:
    """Mean squared change of the features per squared noise, in the limit of little Gaussian noise; (N,).

    lim E||f(x + s g) - f(x)||^2 / s^2 for s to 0 is the squared Frobenius norm of the Jacobian of f at x, and is
    computed as that, a backward pass a feature. The model must be in evaluation mode (ValueError).
    """
    if model.training:
        raise ValueError("model must be in evaluation mode (model.eval()): batch statistics couple the examples")
    x = images.detach().requires_grad_()
    features = model.features(x).sum(0)
    total = torch.zeros(len(images), dtype=images.dtype)
    for feature in features:
        (row,) = torch.autograd.grad(feature, x, retain_graph=True)
        total += row.flatten(1).square().sum(1)
    return total


@torch.no_grad()
def head_bend(logits: Tensor, head: nn.Linear) -> Tensor:
    """Largest eigenvalue of W^T (diag p - p p^T) W, the Hessian of the cross-entropy in the features; (N,).

    logits: (N, K), p their softmax; head: the last layer, W its (K, D) weights. It is at most half the squared largest
    singular value of W after its mean row is taken away, whatever p: the matrix depends on differences of rows alone,
    and the variance of u under p is at most a quarter of its squared range (Popoviciu), so half of |u|^2.

    >>> head = nn.Linear(1, 2)
    >>> _ = head.weight.data.copy_(torch.tensor([[1.0], [-1.0]]))
    >>> round(head_bend(torch.zeros(1, 2), head).item(), 4)  # p = (1/2, 1/2): the variance of +-1
    1.0
    """
    p, w = logits.softmax(1), head.weight
    centred = p.sqrt()[:, :, None] * (w - (p @ w)[:, None])  # (N, K, D): its square is the covariance of rows of W
    return torch.linalg.matrix_norm(centred, ord=2).square()


def safe_radius(loss: float, slope: float, bend: float) -> float:
    """How far an input may move before its class can change: Theorem D7.

    Args:
        loss: cross-entropy at the input, at least 0. slope: norm of its gradient there, at least 0. bend: a bound, at
            least 0, on the largest eigenvalue of its Hessian all over the ball that is returned.

    Noise g of N(0, I), too: if the trace of the Hessian is at most T everywhere and second derivatives are bounded, the
    mean loss at x + sigma g is at most loss + sigma^2 T / 2 (its derivative in sigma^2 is half the mean trace, by the
    heat equation), and the class is wrong with probability at most that over log 2 (Markov's inequality).

    Returns the positive root r of loss + slope r + bend r^2 / 2 = log 2; 0 where the loss is log 2 or more, inf where
    slope and bend are 0. Raises ValueError for a negative argument or one that is not finite.

    >>> round(safe_radius(0.1, 0.5, 2.0), 4)
    0.5597
    """
    for name, value in (("loss", loss), ("slope", slope), ("bend", bend)):
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} must be at least 0 and finite; got {value!r}")
    room = math.log(2) - loss
    if room <= 0:
        return 0.0
    below = slope + math.sqrt(slope**2 + 2 * bend * room)  # this form of the root also holds for bend = 0
    return 2 * room / below if below > 0 else math.inf
