"""The one command line of everything that trains:

    python -m alcl.experiments --profile paper --jobs 2     the benchmark (or: --audit 10)
    python -m alcl.experiments studies                      notebook 10
    python -m alcl.experiments multiverse                   every reading of the abstract; --list prints what there is
    python -m alcl.experiments sensor                       its conditions with censored and contaminated losses
    python -m alcl.experiments worth                        what there is to win; wrong starts; drift
    python -m alcl.experiments edge                         beyond the edge of the grid that GCL is tuned on
    python -m alcl.experiments labels | inputs              the neighbours, notebooks 08 and 09
    python -m alcl.experiments curvature                    two studies beside notebook 09

Each takes --help. Nothing imports this module, so it alone may look down from here to `alcl.related`. Runs belong to
modules of their own: as "__main__" their classes could not be unpickled in worker processes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..related import input_runs, input_studies, label_runs
from . import edge_runs, multiverse, protocol, sensor_runs, studies, worth_runs

COMMANDS = {
    "studies": studies.main,
    "multiverse": multiverse.main,
    "sensor": sensor_runs.main,
    "worth": worth_runs.main,
    "edge": edge_runs.main,
    "labels": label_runs.main,
    "inputs": input_runs.main,
    "curvature": input_studies.main,
}


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments and not arguments[0].startswith("-"):
        if arguments[0] not in COMMANDS:
            print(f"error: no command {arguments[0]!r}; there are: {', '.join(COMMANDS)}", file=sys.stderr)
            return 1
        return COMMANDS[arguments[0]](arguments[1:])
    return protocol.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
