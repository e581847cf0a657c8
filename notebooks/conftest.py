"""nbval's kernels, one for each notebook and many at a time, are spoken to through files.

A port that is free when it is chosen may be another kernel's when it is used, and neither then answers.

The last notebooks come first: they are longer than the first, and none should be left for the end, where one core would
wait for another.
"""

import tempfile
from uuid import uuid4

import nbval.kernel
from jupyter_client.manager import KernelManager


def manager(**options):
    return KernelManager(transport="ipc", ip=f"{tempfile.gettempdir()}/kernel-{uuid4().hex}", **options)


nbval.kernel.KernelManager = manager


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name, reverse=True)  # cells stay in their order
