"""Adaptive log-correntropy loss (ALCL): the loss, its density, its influence function, and the experiments."""
