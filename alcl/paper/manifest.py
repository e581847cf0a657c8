"""Writing figures and tables, each with an entry in `manifest.json` that says where it came from."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from filelock import FileLock
from matplotlib.figure import Figure

from .parameters import REMEDY, figures_dir, overwriting, refusal

# ------------------------------------------------------------ files and the manifest


def save(
    figure: Figure,
    name: str,
    *,
    notebook: str,
    parameters: Mapping[str, Any] | None = None,
    records: Mapping[str, Iterable[Any]] | None = None,
    data: Mapping[str, str] | None = None,
) -> None:
    """Write `<name>.pdf` and `<name>.png` into `figures_dir()` and enter them in its manifest.

    Neither file holds a date or a version, so the same figure gives the same bytes. Files are replaced whole,
    and only if they differ.

    Args: figure: the figure. name: "figNN_what_it_shows" (the notebook's two digits, or A1 for an appendix, perhaps a
            letter; small letters, digits and underscores). Write it out in the notebook: a test looks for it there.
        notebook: the notebook that draws it, "NN_name"; or the module, "alcl.paper.bench".
        parameters: the notebook's parameters that the figure depends on; plain JSON values.
        records: study -> the records drawn, as dicts with a "digest" or as the digests themselves; in any
            order.
        data: data set -> checksum.

    Raises ValueError for a bad name, for an entry that is not JSON, and where a committed
    figure would be replaced by one with other parameters (`parameters.refusal`) or without some of its records;
    OSError naming the file when it cannot be written.
    """
    _check_name(name, "fig")
    entry = _entry(notebook, parameters, records, data)
    with _constant_time():
        png = _rendered(figure, "png", {"Software": None})
        # The layout is settled now. Solving it anew would take a third of the next rendering.
        figure.set_layout_engine("none")
        pdf = _kept_pdf(name, png)
        if pdf is None:
            pdf = _rendered(figure, "pdf", {"Creator": None, "Producer": None, "CreationDate": None})
    contents = {f"{name}.pdf": pdf, f"{name}.png": png}
    _write(name, contents, entry)
    _show(figure, png)


def save_table(
    frame: pd.DataFrame,
    name: str,
    *,
    notebook: str,
    parameters: Mapping[str, Any] | None = None,
    records: Mapping[str, Iterable[Any]] | None = None,
    data: Mapping[str, str] | None = None,
    float_format: str = ".4g",
) -> None:
    """Write a table as `<name>.csv` (numbers to six significant digits) and `<name>.md` (to read), with an
    entry in the manifest.

    `name` is "tableNN_what_it_holds". An index becomes columns, unless it merely counts the rows.
    `float_format` is the Markdown file's. The other arguments, and the errors, are those of `save`.
    """
    _check_name(name, "table")
    entry = _entry(notebook, parameters, records, data)
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index()
    if isinstance(frame.columns, pd.MultiIndex):
        frame = frame.set_axis([" ".join(str(part) for part in c if str(part)) for c in frame.columns], axis=1)
    contents = {
        f"{name}.csv": frame.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode(),
        f"{name}.md": _markdown(frame, float_format).encode(),
    }
    _write(name, contents, entry)


def _check_name(name: str, kind: str) -> None:
    if not re.fullmatch(kind + r"(\d\d|A\d)[a-z]?_[a-z0-9_]+", str(name)):
        raise ValueError(f'name: must look like "{kind}03_what_it_shows" (small letters, digits, _), not {name!r}')


def _entry(
    notebook: str,
    parameters: Mapping[str, Any] | None,
    records: Mapping[str, Iterable[Any]] | None,
    data: Mapping[str, str] | None,
) -> dict[str, Any]:
    """The part of a manifest entry that says where a figure came from."""
    if not re.fullmatch(r"(\d\d|A\d)_[a-z0-9_]+|alcl(\.[a-z_]+)+", str(notebook)):
        raise ValueError(
            f"notebook: must be a notebook's name like \"04_noise\", without an ending, or a module's, not {notebook!r}"
        )
    return {
        "notebook": notebook,
        "parameters": _plain(parameters or {}, "parameters"),
        "records": {str(study): _summary(study, used) for study, used in (records or {}).items()},
        "data": _plain(data or {}, "data"),
    }


def _summary(study: str, used: Iterable[Any]) -> dict[str, Any]:
    """How many records of a study were used, and one digest of which: sha256 of their sorted digests, one a
    line.
    """
    digests = set()
    for record in used:
        digest = record.get("digest") if isinstance(record, Mapping) else record
        if not isinstance(digest, str):
            raise ValueError(f'records[{study!r}]: must hold digests, or records with a "digest", not {record!r:.60}')
        digests.add(digest)
    return {"count": len(digests), "sha256": _sha256("\n".join(sorted(digests)).encode())}


def _plain(value: Any, name: str) -> Any:
    """`value` as strict JSON: numpy and torch scalars become numbers, tuples lists; ValueError for anything
    else.
    """

    def convert(thing: Any) -> Any:
        if hasattr(thing, "item") and getattr(thing, "size", 1) != 0:
            return thing.item()
        return str(thing) if isinstance(thing, os.PathLike) else json.JSONEncoder().default(thing)

    try:
        return json.loads(json.dumps(value, default=convert, allow_nan=False))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name}: must hold plain JSON values ({error})") from None


@contextmanager
def _constant_time() -> Iterator[None]:
    """Let matplotlib and its font tools see one fixed time, so that a PDF does not hold today's date."""
    before = os.environ.get("SOURCE_DATE_EPOCH")
    os.environ["SOURCE_DATE_EPOCH"] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ["SOURCE_DATE_EPOCH"]
        else:
            os.environ["SOURCE_DATE_EPOCH"] = before


def _rendered(figure: Figure, kind: str, metadata: dict[str, None]) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata=metadata, bbox_inches="tight", pad_inches=0.04)
    return buffer.getvalue()


def _markdown(frame: pd.DataFrame, float_format: str) -> str:
    """`frame` as a Markdown table, numbers to the right."""

    def text(value: Any) -> str:
        if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
            return ""
        shown = format(value, float_format) if isinstance(value, (float, np.floating)) else str(value)
        return shown.replace("|", "\\|").replace("\n", " ")

    numeric = [pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes]
    rows = [[text(column) for column in frame.columns], ["---:" if number else "---" for number in numeric]]
    rows += [[text(value) for value in row] for row in frame.itertuples(index=False, name=None)]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def _write(name: str, contents: dict[str, bytes], entry: dict[str, Any]) -> None:
    """Put the files and the manifest entry in place, under the manifest's lock."""
    folder = figures_dir()
    manifest = folder / "manifest.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "manifest.json.lock"):
            entries = json.loads(manifest.read_text("utf-8")) if manifest.exists() else {}
            if reason := refusal(entry["notebook"], entry["parameters"]) or _lost(name, entries.get(name), entry):
                raise ValueError(f"{name}: {reason}; nothing was written")
            entry["files"] = sorted(contents)
            entry["sha256"] = {file: _sha256(content) for file, content in contents.items()}
            entries[name] = entry
            text = json.dumps(entries, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
            _replace(folder, {**contents, manifest.name: (text + "\n").encode()})
    except json.JSONDecodeError as error:
        raise ValueError(f"{manifest} is not JSON ({error}); restore or delete it, nothing was written") from None
    except OSError as error:
        raise OSError(error.errno, f"cannot write {name} into {folder}: {error.strerror or error}") from error


def _lost(name: str, before: Mapping[str, Any] | None, entry: Mapping[str, Any]) -> str | None:
    """Which records the committed figure of this name was drawn from and the new one is not; None if none is known.

    More records than before are welcome. Of which they are there is but one digest: as many with another digest are
    others. A folder without notebooks beside it is somebody's own, and nothing in it is protected.
    """
    if before is None or overwriting() or not (figures_dir().resolve().parent / "notebooks").is_dir():
        return None
    for study, old in before["records"].items():
        new = entry["records"].get(study, {"count": 0})
        if new["count"] < old["count"] or (new["count"] == old["count"] and new != old):
            other = "other ones" if new["count"] == old["count"] else new["count"]
            return f"drawn from {old['count']} records of {study}, and now from {other}. {REMEDY}"
    return None


def _kept_pdf(name: str, png: bytes) -> bytes | None:
    """The PDF that is there, if it is the one saved with this very PNG; else None.

    A PDF holds coordinates to many digits and is compressed: the last digit of a sum, or another zlib, changes its
    bytes where nobody could see a difference. The PNG decides whether the figure has changed.
    """
    folder = figures_dir()
    try:
        before = json.loads((folder / "manifest.json").read_text("utf-8"))[name]["sha256"]
        there = (folder / f"{name}.pdf").read_bytes()
        same = (before[f"{name}.png"], before[f"{name}.pdf"]) == (_sha256(png), _sha256(there))
        return there if same else None
    except (OSError, ValueError, KeyError, TypeError):  # not there, or not readable: then it is drawn
        return None


def _show(figure: Figure, png: bytes) -> None:
    """In a notebook, show the figure as it was saved: drawing it again for the screen would take as long as saving."""
    if "inline" in mpl.get_backend():
        from IPython.display import Image, display
        from matplotlib import pyplot as plt

        width = int.from_bytes(png[16:20], "big") // 2  # of twice the screen's resolution
        display(Image(png, width=width, alt=titles(figure)))
        plt.close(figure)


def titles(figure: Figure) -> str:
    """A figure in words, for who does not see it: its title, then those of its panels; without any, what its axes
    show."""
    parts = [figure.get_suptitle()]
    parts += [axes.get_title(place) for axes in figure.axes for place in ("left", "center", "right")]
    if not any(parts):
        parts = [f"{axes.get_ylabel()} over {axes.get_xlabel()}" for axes in figure.axes if axes.get_xlabel()]
    return "; ".join(dict.fromkeys(" ".join(part.split()) for part in parts if part)) or "figure"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _replace(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write the files whole or, where one cannot be written, none; leave those alone that already hold their
    bytes.
    """
    staged: dict[Path, str] = {}
    try:
        for file, content in contents.items():
            if (folder / file).is_file() and (folder / file).read_bytes() == content:
                continue
            handle, temporary = tempfile.mkstemp(prefix=f".{file}.", dir=folder)
            staged[folder / file] = temporary
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(temporary, 0o644)  # mkstemp's own mode would hide the file from other users
        for path, temporary in staged.items():
            os.replace(temporary, path)
    finally:
        for temporary in staged.values():
            Path(temporary).unlink(missing_ok=True)
