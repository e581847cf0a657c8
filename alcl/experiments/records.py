"""The store of finished runs: a text file with one JSON object a line, made to survive kills and show damage.

Each line is one record in canonical JSON (sorted keys, no spaces) with one key added, "check": the sha256 of the
canonical JSON of the rest. A record is written under a file lock in one piece and synced to disk before `append`
returns. So a writer that is killed leaves at worst one torn last line, and a line of which any byte has changed is
recognised; both are reported with their line number, and `repair` sets them aside.

The file is plain text on purpose: it can be read, compared and merged without this module.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from filelock import FileLock

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DigestTaken", "Problem", "RecordStore", "to_frame"]


class DigestTaken(ValueError):
    """Another record in the store has this digest."""


class Problem(NamedTuple):
    """A line that is not a valid record, or repeats one.

    line: its number, from 1. kind: "torn" (the end is missing), "altered" (its check does not match), "not JSON",
    "missing digest" or "duplicate" (a valid line whose digest an earlier line has).
    """

    line: int
    kind: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.kind}"


class RecordStore:
    """Records in a file, one a line.

    Any number of processes may append at once; readers need no lock and may be on read-only media.

    Args:
        path: the file, by custom `<study>.jsonl`; it and its folder are made by the first `append`. Beside it lie
            `<path>.lock` and, after a repair, `<path>.rejected`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).resolve()  # so that a rewrite replaces a link's target, not the link

    def append(self, record: Mapping[str, Any], *, replace: bool = False) -> bool:
        """Add a record; on return it is on the disk.

        Args:
            record: JSON values, numpy or torch numbers and arrays; must have a "digest", a string. A number that is
                not finite is stored as null, because JSON has no NaN: a run that diverged reads back as None.
            replace: a record that has the same digest is replaced, in its place, instead of refused.

        Returns False, and writes nothing, if this very record is there already; else True. Raises ValueError for a
        record without a digest or with values that are not JSON, DigestTaken (a ValueError) for one that is taken;
        OSError naming the file when it cannot be written, in which case the file is as it was.
        """
        content = _strict(record, "record")
        digest = content.get("digest") if isinstance(content, dict) else None
        if not isinstance(digest, str) or not digest:
            raise ValueError('record: must be a dict with a "digest" that is a non-empty string')
        if "check" in content:
            raise ValueError('record: the key "check" is the store\'s own; leave it out')
        line = _canonical(content | {"check": _check(content)})
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._lock():
                raw = self.path.read_bytes() if self.path.exists() else b""
                taken = self._find(raw, digest)
                lines = _split(raw)
                if taken and lines[taken - 1].rstrip(b"\n") == line:
                    return False
                if taken and not replace:
                    raise DigestTaken(
                        f"record: digest {digest!r} is taken by another record, line {taken} of {self.path}; "
                        "pass replace=True to put this one in its place"
                    )
                if taken:
                    lines[taken - 1] = line + b"\n"
                    self._rewrite(lines)
                else:
                    # A torn last line stays a line of its own: nothing is ever glued to it.
                    gap = b"\n" if raw and not raw.endswith(b"\n") else b""
                    self._extend(self.path, gap + line + b"\n")
        except OSError as error:
            raise OSError(error.errno, f"cannot write {self.path}: {error.strerror or error}") from error
        return True

    def read(self) -> list[dict[str, Any]]:
        """The valid records, in the order of the file, as they were appended; none if there is no file.

        Warns, with the line numbers, of lines that are left out; of records with equal digests the first counts.
        """
        records, problems = self._scan()
        if problems:
            warnings.warn(
                f"{self.path}: left out {', '.join(map(str, problems))}. RecordStore.repair() sets them aside",
                stacklevel=2,
            )
        return list(records.values())

    def digests(self) -> set[str]:
        """The digests of the valid records."""
        return set(self._scan()[0])

    def verify(self) -> list[Problem]:
        """What is wrong with the file, in the order of its lines; an empty list if nothing is."""
        return self._scan()[1]

    def repair(self) -> list[Problem]:
        """Move every line that `verify` reports to `<path>.rejected` and keep the others, byte for byte.

        The file is replaced in one step, after the rejected lines are safe on the disk. Returns what was moved.
        Raises OSError naming the file when it cannot be written.
        """
        if not self.verify():
            return []
        try:
            with self._lock():
                raw = self.path.read_bytes()
                _, problems = _parse(raw)
                bad = {problem.line for problem in problems}
                lines = dict(enumerate(_split(raw), start=1))
                rejected = b"".join(line.rstrip(b"\n") + b"\n" for i, line in lines.items() if i in bad)
                if bad:
                    self._extend(self.path.with_name(self.path.name + ".rejected"), rejected)
                    self._rewrite([line for i, line in lines.items() if i not in bad])
        except OSError as error:
            raise OSError(error.errno, f"cannot repair {self.path}: {error.strerror or error}") from error
        return problems

    def _lock(self) -> FileLock:
        # A new lock object each time: the lock is the kernel's, which frees it when a process dies. Public methods
        # never call one another while they hold it.
        return FileLock(f"{self.path}.lock")

    def _scan(self) -> tuple[dict[str, dict[str, Any]], list[Problem]]:
        try:
            raw = self.path.read_bytes()
            records, problems = _parse(raw)
            if problems and problems[-1].line == len(_split(raw)) and not raw.endswith(b"\n"):
                # Either a writer died here, or it is writing at this moment: then wait for it.
                try:
                    with self._lock():
                        return _parse(self.path.read_bytes())
                except OSError:  # read-only: nobody is writing
                    pass
            return records, problems
        except FileNotFoundError:
            return {}, []

    @staticmethod
    def _find(raw: bytes, digest: str) -> int:
        """Number of the first valid line with this digest, or 0. Most lines are passed over without parsing."""
        needle = b'"digest":' + _canonical(digest)
        if needle not in raw:
            return 0
        lines = enumerate(_split(raw), start=1)
        return next((i for i, line in lines if needle in line and _valid(line.rstrip(b"\n"), digest)), 0)

    @staticmethod
    def _extend(path: Path, content: bytes) -> None:
        """Append to a file and sync it; if that fails, cut it back to what it was."""
        new = not path.exists()
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            try:
                rest = memoryview(content)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
                os.fsync(descriptor)
            except BaseException:
                os.ftruncate(descriptor, size)
                if new:
                    os.unlink(path)
                raise
        finally:
            os.close(descriptor)
        if new:
            _sync_folder(path.parent)

    def _rewrite(self, lines: Iterable[bytes]) -> None:
        """Replace the file's content in one step."""
        handle, temporary = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.writelines(lines)
                stream.flush()
                os.fsync(stream.fileno())
            shutil.copymode(self.path, temporary)
            os.replace(temporary, self.path)
        except BaseException:
            os.unlink(temporary)
            raise
        _sync_folder(self.path.parent)


def to_frame(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """A table with one row a record, ready for grouping.

    The entries of "config" and "metrics" become columns of their own, under their own names; other nested entries
    become "outer.inner", and lists (trajectories) stay lists. Where sections use one name for values that differ,
    those columns keep the section in front: "config.loss", "metrics.loss". None among numbers becomes NaN.
    """
    import pandas as pd  # here: a worker of a sweep appends records and needs no table

    rows = [
        {
            "config": _flatten(record.get("config") or {}),
            "metrics": _flatten(record.get("metrics") or {}),
            "": _flatten({key: value for key, value in record.items() if key not in ("config", "metrics", "check")}),
        }
        for record in records
    ]
    clashing = set()
    for row in rows:
        merged: dict[str, Any] = {}
        for section in row.values():
            clashing |= {name for name in section if name in merged and merged[name] != section[name]}
            merged |= section
    frame = pd.DataFrame(
        [
            {
                f"{section}.{name}" if section and name in clashing else name: value
                for section, entries in row.items()
                for name, value in entries.items()
            }
            for row in rows
        ]
    )
    for name in frame.columns[frame.isna().all()]:
        frame[name] = float("nan")
    return frame


def _flatten(entries: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in entries.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _strict(value: Any, where: str) -> Any:
    """`value` in JSON's own types; None for a number that is not finite."""
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"{where}: keys must be strings, not {key!r}")
        return {key: _strict(entry, f"{where}[{key!r}]") for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(entry, f"{where}[{i}]") for i, entry in enumerate(value)]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if hasattr(value, "tolist"):  # numpy and torch, scalars and arrays
        return _strict(value.tolist(), where)
    raise ValueError(f"{where}: must be a JSON value (dict, list, str, number, bool, None), not {type(value).__name__}")


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _check(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(content)).hexdigest()


def _split(raw: bytes) -> list[bytes]:
    """Lines with their ends. Not `splitlines`, for which a stray carriage return would end a line as well."""
    lines = [line + b"\n" for line in raw.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def _valid(line: bytes, digest: str | None = None) -> dict[str, Any] | None:
    """The record that `line` holds, if every byte of it is as it was written (and, if asked, the digest is this)."""
    try:
        content = json.loads(line)
        check = content.pop("check")
        if line != _canonical(content | {"check": check}):
            return None
        # The line without its check is what the check is of; to write it anew would take as long as to read it.
        rest = line.replace(b'"check":"%b",' % check.encode(), b"", 1)
        if hashlib.sha256(rest).hexdigest() != check and _check(content) != check:
            return None
        return content if digest in (None, content["digest"]) else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _diagnose(line: bytes) -> str:
    """What is wrong with a line that is not valid."""
    try:
        content = json.loads(line)
    except json.JSONDecodeError as error:
        if not line.startswith(b"{"):
            return "not JSON"
        # A line that lost its end is refused at its end, within a string or literal that breaks off there.
        broken_off = error.msg.startswith("Unterminated string") or error.pos >= len(error.doc) - len("-Infinity")
        return "torn" if broken_off else "altered"
    except (ValueError, RecursionError):
        return "altered" if line.startswith(b"{") else "not JSON"
    return "altered" if isinstance(content, dict) and "digest" in content else "missing digest"


def _parse(raw: bytes) -> tuple[dict[str, dict[str, Any]], list[Problem]]:
    """The valid records by digest, and the other lines."""
    records: dict[str, dict[str, Any]] = {}
    problems = []
    for number, line in enumerate(_split(raw), start=1):
        line = line.rstrip(b"\n")
        content = _valid(line)
        if content is None or not isinstance(content.get("digest"), str):
            problems.append(Problem(number, _diagnose(line)))
        elif content["digest"] in records:
            problems.append(Problem(number, "duplicate"))
        else:
            records[content["digest"]] = content
    return records, problems


def _sync_folder(folder: Path) -> None:
    """Make a new name in `folder` survive a power cut."""
    if os.name == "nt":  # where a folder cannot be opened, and need not be
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
