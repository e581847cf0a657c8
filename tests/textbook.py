"""What several tests use: a loss of the textbooks, and a descent."""

import torch

from alcl.base import ResidualLoss


class Tukey(ResidualLoss):
    """Tukey's biweight: the textbook psi of compact support, (6/c^2) e (1 - (e/c)^2)^2."""

    def __init__(self, c):
        super().__init__()
        self.c = c

    def rho(self, residual):
        return 1 - (1 - (residual / self.c).square()).clamp(min=0) ** 3


def descend(loss, e):
    """Let the loss learn from residuals e, to a minimum."""
    optimizer = torch.optim.LBFGS(loss.parameters(), max_iter=500, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = loss(e, torch.zeros_like(e))
        value.backward()
        return value

    optimizer.step(closure)
