"""What the configurations of all experiments share: one canonical form, a digest, random streams, the environment.

A configuration is a frozen dataclass that derives from `Config`. Two that are equal have equal digests however they
were written down, and a record's "config" makes the same one again: `from_config(record["config"])`.
"""

from __future__ import annotations

import functools
import hashlib
import json
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch

Self = TypeVar("Self", bound="Config")


class Config:
    """Base of the frozen dataclasses that specify one run.

    Class attributes, parts of every digest: `study`; `protocol`, to be raised whenever a change makes old records
    incomparable with new ones; `kind`, for configurations that share a store, which stands in `config()` too. (Set
    without annotation in subclasses, so that they are no fields.)
    """

    study: ClassVar[str | None] = None
    protocol: ClassVar[int] = 1
    kind: ClassVar[str | None] = None

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that identify this configuration, its study and the version of the protocol."""
        heading = {"protocol": self.protocol} | ({} if self.study is None else {"study": self.study})
        text = json.dumps({**heading, **self._identity()}, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def config(self) -> dict[str, Any]:
        """The fields as JSON-ready values; `from_config` is the inverse."""
        # Not asdict, which copies values. They are numbers, words and tuples, and this is called ten thousand times.
        content = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.kind is not None:
            content = {"kind": self.kind, **content}
        if "options" in content:
            content["options"] = {k: list(v) if isinstance(v, tuple) else v for k, v in self.options}
        return content

    @classmethod
    def from_config(cls: type[Self], config: Mapping[str, Any]) -> Self:
        """The configuration that `config()` gave. Raises ValueError for fields that this class does not have."""
        content = {name: value for name, value in config.items() if cls.kind is None or name != "kind"}
        unknown = set(content) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"config has fields that {cls.__name__} does not: {', '.join(sorted(unknown))}")
        return cls(**content)

    def _identity(self) -> Mapping[str, Any]:
        """What the digest holds of the fields: all of them."""
        return self.config()

    def _set(self, name: str, value: Any) -> None:
        """Give a field its canonical value, while the object is being made."""
        object.__setattr__(self, name, value)

    def _fill(self, settings: Mapping[str, Any]) -> None:
        """Fields at None take their value in `settings`."""
        for name, value in settings.items():
            if getattr(self, name) is None:
                self._set(name, value)


def canonical_options(options: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> tuple[tuple[str, Any], ...]:
    """A loss's options as sorted pairs, with tuples for lists, which JSON makes of them."""
    pairs = options.items() if isinstance(options, Mapping) else options
    return tuple(sorted({str(k): tuple(v) if isinstance(v, list) else v for k, v in pairs}.items()))


def stream_seed(names: Sequence[str], name: str, *key: int) -> int:
    """A 63-bit seed for the random stream called `name`, one of `names`; `key` begins with the run's seed.

    Streams of different keys or names are independent (numpy's SeedSequence). Their order is part of the protocol: a
    new name goes to the end.
    """
    state = np.random.SeedSequence([*key, names.index(name)]).generate_state(1, np.uint64)[0]
    return int(state >> np.uint64(1))


@functools.lru_cache(maxsize=1)
def commit() -> str | None:
    """The commit of the checkout this package lies in, "+" if tracked code differs; None outside git."""
    here = Path(__file__).resolve().parents[1]
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "."], cwd=here, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()[:12] + ("+" if changed.returncode else "")


def environment() -> dict[str, Any]:
    """What a metric may depend on beside the configuration."""
    return {
        "device": "cpu",
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__.split("+")[0],
        "python": platform.python_version(),
        "commit": commit(),
    }


# --- checks ---------------------------------------------------------------------------------------------------------


def one_of(name: str, value: Any, legal: Iterable[str]) -> None:
    """Raises ValueError unless `value` is one of `legal`."""
    legal = tuple(legal)
    if value not in legal:
        raise ValueError(f"{name} must be one of {', '.join(legal)}; got {value!r}")


def whole(name: str, value: Any, at_least: int) -> None:
    """Raises ValueError unless `value` is a whole number of at least `at_least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise ValueError(f"{name} must be a whole number of at least {at_least}; got {value!r}")
