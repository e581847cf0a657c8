"""Every committed figure is accounted for: who drew it, from what, and that the file is the one that was drawn."""

import functools
import hashlib
import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from alcl.experiments.datasets import DATASETS, load_dataset
from alcl.experiments.records import RecordStore
from alcl.paper.manifest import titles

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "paper_figures"
IGNORED = {"manifest.json", "README.md", ".gitkeep"}


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def origin(notebooks, name):
    """The file that draws a figure: a notebook, or a module of the library."""
    return notebooks.parent / f"{name.replace('.', '/')}.py" if name.startswith("alcl.") else notebooks / f"{name}.py"


def spelling(folder):
    """Whether the manifest is spelled as `alcl.paper.figures` spells it; by hand, or by a merge, it may not be."""
    text = (folder / "manifest.json").read_text("utf-8")
    canonical = json.dumps(json.loads(text), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    return [] if text == canonical else ["manifest.json: not spelled as alcl.paper.figures spells it"]


def unlisted_files(folder):
    """Files that no entry of the manifest names. Records and locks are not figures."""
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    listed = {file for entry in manifest.values() for file in entry["files"]}
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    strays = {
        file for file in files - listed - IGNORED if not file.startswith("records/") and not file.endswith(".lock")
    }
    return [f"{file}: not in the manifest" for file in sorted(strays)]


def broken_entries(folder, notebooks):
    """What the manifest says that is not so."""
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    digests_of = functools.cache(lambda path: RecordStore(path).digests())
    problems = []
    for name, entry in manifest.items():
        if not re.fullmatch(r"(fig|table)(\d\d|A\d)[a-z]?_[a-z0-9_]+", name):
            problems.append(f"{name}: not a figure's or table's name")
        if not entry["files"] or not entry["sha256"]:
            problems.append(f"{name}: no file, or no checksum")
        problems += [f"{name}: {file} is missing" for file in entry["files"] if not (folder / file).is_file()]
        for file, checksum in entry["sha256"].items():
            if (folder / file).is_file() and sha256((folder / file).read_bytes()) != checksum:
                problems.append(f"{name}: {file} is not the file that was saved")
        if not origin(notebooks, entry["notebook"]).is_file():
            problems.append(f"{name}: there is no notebook {entry['notebook']}")
        for study, used in entry["records"].items():
            path = folder / "records" / f"{study}.jsonl"
            if not path.is_file():
                problems.append(f"{name}: there are no records {study}")
                continue
            digests = digests_of(path)
            if used["count"] > len(digests):
                problems.append(f"{name}: drawn from {used['count']} records of {study}, which has {len(digests)}")
            # From a digest over a part of them one cannot tell which; over all, one can.
            elif used["count"] == len(digests) and used["sha256"] != sha256("\n".join(sorted(digests)).encode()):
                problems.append(f"{name}: drawn from other records of {study} than are there")
        problems += [f"{name}: there is no data set {data}" for data in entry["data"] if data not in DATASETS]
    return problems


def abandoned(folder, notebooks):
    """Entries whose name their notebook no longer mentions; of an f-string, the beginning counts."""
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    problems = []
    for name, entry in manifest.items():
        path = origin(notebooks, entry["notebook"])
        source = path.read_text("utf-8") if path.is_file() else ""
        starts = re.findall(r"""["']((?:fig|table)(?:\d\d|A\d)[a-z]?_[a-z0-9_]*)(\{)?""", source)
        if not any(name == start or (open_ and name.startswith(start)) for start, open_ in starts):
            problems.append(f"{name}: {entry['notebook']} does not save it")
    return problems


# ------------------------------------------------------------ the committed figures and records


def test_manifest_is_as_it_was_written():
    assert spelling(FIGURES) == []


def test_every_file_is_in_the_manifest():
    assert unlisted_files(FIGURES) == []


def test_every_entry_is_true():
    assert broken_entries(FIGURES, ROOT / "notebooks") == []


def test_every_entry_is_still_drawn():
    assert abandoned(FIGURES, ROOT / "notebooks") == []


def test_embedded_data_sets_are_the_ones_drawn_from():
    manifest = json.loads((FIGURES / "manifest.json").read_text("utf-8"))
    drawn = {(name, checksum) for entry in manifest.values() for name, checksum in entry["data"].items()}
    embedded = {name for name, spec in DATASETS.items() if spec.embedded}
    here = {name: load_dataset(name).checksum for name in embedded & {name for name, _ in drawn}}
    assert {pair for pair in drawn if pair[0] in embedded} == set(here.items())


@pytest.mark.parametrize("path", sorted((FIGURES / "records").glob("*")), ids=lambda path: path.name)
def test_committed_records_are_whole(path):
    if path.suffix == ".lock":
        pytest.skip("a lock, not a record")
    if path.name == "bench.json":  # one measurement of speed, not a store of runs
        assert {row["what"] for row in json.loads(path.read_text())["rows"]} >= {"loss", "step", "epoch", "sweep"}
        return
    assert path.suffix == ".jsonl"
    assert RecordStore(path).verify() == []


# ------------------------------------------------------------ each gate can fail


@pytest.fixture
def gallery(tmp_path):
    """A folder with one figure, its notebook and its records, with nothing wrong."""
    folder, notebooks = tmp_path / "paper_figures", tmp_path / "notebooks"
    (folder / "records").mkdir(parents=True)
    notebooks.mkdir()
    (notebooks / "03_name.py").write_text('figures.save(fig, "fig03_x", notebook="03_name")')
    store = RecordStore(folder / "records" / "grid.jsonl")
    for digest in "ab":
        store.append({"digest": digest})
    (folder / "fig03_x.png").write_bytes(b"drawn")
    (folder / "fig03_x.pdf").write_bytes(b"drawn")
    entry = {
        "notebook": "03_name",
        "parameters": {},
        "files": ["fig03_x.pdf", "fig03_x.png"],
        "sha256": {"fig03_x.png": sha256(b"drawn")},
        "records": {"grid": {"count": 2, "sha256": sha256(b"a\nb")}},
        "data": {"digits": "c0ffee"},
    }
    write(folder, {"fig03_x": entry})
    assert problems(folder) == []
    return folder


def write(folder, manifest):
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")


def problems(folder):
    notebooks = folder.parent / "notebooks"
    return spelling(folder) + unlisted_files(folder) + broken_entries(folder, notebooks) + abandoned(folder, notebooks)


def test_gate_stray_files(gallery):
    for file in ("fig09_old.png", "records/grid.jsonl.lock", "manifest.json.lock", ".fig03_x.png.tmp"):
        (gallery / file).touch()
    assert problems(gallery) == [".fig03_x.png.tmp: not in the manifest", "fig09_old.png: not in the manifest"]


def test_gate_changed_and_missing_files(gallery):
    (gallery / "fig03_x.png").write_bytes(b"drawn over")
    (gallery / "fig03_x.pdf").unlink()
    assert problems(gallery) == [
        "fig03_x: fig03_x.pdf is missing",
        "fig03_x: fig03_x.png is not the file that was saved",
    ]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"notebook": "09_gone"}, "fig03_x: there is no notebook 09_gone"),
        ({"records": {"gone": {"count": 1, "sha256": ""}}}, "fig03_x: there are no records gone"),
        ({"records": {"grid": {"count": 3, "sha256": ""}}}, "fig03_x: drawn from 3 records of grid, which has 2"),
        ({"records": {"grid": {"count": 2, "sha256": ""}}}, "fig03_x: drawn from other records of grid than are there"),
        ({"data": {"imagenet": "c0ffee"}}, "fig03_x: there is no data set imagenet"),
        ({"sha256": {}}, "fig03_x: no file, or no checksum"),
    ],
)
def test_gate_untrue_entries(gallery, change, problem):
    manifest = json.loads((gallery / "manifest.json").read_text())
    manifest["fig03_x"] |= change
    write(gallery, manifest)
    assert problem in problems(gallery)


def test_gate_abandoned_entries(gallery):
    notebook = gallery.parent / "notebooks" / "03_name.py"
    notebook.write_text('save(fig, f"fig03_{dataset}", notebook="03_name")')
    assert problems(gallery) == []
    notebook.write_text('save(fig, "fig03_xy", notebook="03_name")')
    assert problems(gallery) == ["fig03_x: 03_name does not save it"]


def test_gate_spelling(gallery):
    manifest = (gallery / "manifest.json").read_text()
    (gallery / "manifest.json").write_text(manifest.replace(" ", "  "))
    assert problems(gallery) == ["manifest.json: not spelled as alcl.paper.figures spells it"]


def test_a_figure_in_words():
    figure, (left, right) = plt.subplots(1, 2)
    assert titles(figure) == "figure"
    left.set(xlabel="residual", ylabel="loss")
    assert titles(figure) == "loss over residual"
    left.set_title("the pull", loc="left")
    right.set_title("how it\nfades")
    figure.suptitle("Influence")
    assert titles(figure) == "Influence; the pull; how it fades"
    plt.close(figure)
