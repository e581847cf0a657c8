"""Shared test settings: one thread, and hypothesis profiles (`ci` by default, `deep` for `make test-deep`)."""

import os
import sys

import pytest
import torch
from hypothesis import HealthCheck, settings

sys.modules["rfc3987_syntax"] = None  # jsonschema would import it, for a second, to check what no notebook has
# One thread a process: xdist supplies the parallelism, and results do not depend on the machine's core count.
torch.set_num_threads(1)

settings.register_profile(
    "ci", max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("deep", max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

#: Modules that take long. Begun first, none is left for the end, where one core would wait for another.
#: test_book builds the book, for which test_book_browser would wait.
LONG = (
    *("test_sweeps_killed", "test_cluster", "test_book", "test_figures", "test_interop", "test_kernels", "test_losses"),
    *("test_mixtures", "test_notebooks"),
)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.stem not in LONG)


@pytest.fixture
def double_precision():
    """Losses keep their parameters in the default dtype: here to sixteen digits, as theorems and oracles want them."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
