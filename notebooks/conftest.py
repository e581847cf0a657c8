"""nbval's kernels, one for each notebook and many at a time, are spoken to through files.

A port that is free when it is chosen may be another kernel's when it is used, and neither then answers.
"""

import tempfile
from uuid import uuid4

import nbval.kernel
from jupyter_client.manager import KernelManager


def manager(**options):
    return KernelManager(transport="ipc", ip=f"{tempfile.gettempdir()}/kernel-{uuid4().hex}", **options)


nbval.kernel.KernelManager = manager
