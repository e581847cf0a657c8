"""What past runs rest on and no change may move: the digest of every committed record, the seeds of random streams.

Records were added, or one was run again on purpose? Then write the new set down:

    python tests/experiments/test_pins.py

It prints what has changed, for the commit message, and leaves the seeds alone, which never change.
"""

import hashlib
import json
import sys
from pathlib import Path
from unittest import mock

import pytest

from alcl.catalogue import LOSSES
from alcl.experiments import reconstruction
from alcl.experiments.reconstruction import Run
from alcl.related import input_runs, input_studies, label_runs
from alcl.related.label_runs import LabelRun
from alcl.related.skewed import SkewedStudentTLoss

RECORDS = Path(__file__).parents[2] / "paper_figures" / "records"
FILES = sorted(path.name for path in RECORDS.glob("*.jsonl"))
PINNED = Path(__file__).with_name("pinned.json")
STREAMS = {
    "Run": reconstruction.stream,
    "LabelRun": label_runs.stream,
    "InputRun": input_runs.stream,
}


def recomputed(record):
    """The digest that today's code gives the configuration of a record."""
    if "study" not in record:
        with mock.patch.dict(LOSSES, {"skewed_student_t": SkewedStudentTLoss}):  # notebook 11 registers it
            return Run.from_config(record["config"]).digest
    if record["study"] == label_runs.STUDY:
        return LabelRun.from_config(record["config"]).digest
    if record["study"] == input_studies.STUDY:
        return input_studies.config_of(record).digest
    return input_runs.config_of(record).digest


def read(file):
    # Not by RecordStore: the pins hold also where it is changed.
    with (RECORDS / file).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def summary(records):
    """How many there are, and one sum of all: it changes when a record is lost, added or replaced by another run."""
    content = "\n".join(sorted(f"{record['digest']} {record['check']}" for record in records))
    return {"records": len(records), "sha256": hashlib.sha256(content.encode()).hexdigest()}


@pytest.fixture(scope="module")
def pinned():
    return json.loads(PINNED.read_text("utf-8"))


@pytest.mark.parametrize("file", FILES)
def test_digests_of_committed_records(file, pinned):
    records = read(file)
    moved = [f"{r['digest']} -> {recomputed(r)}: {r['config']}" for r in records if recomputed(r) != r["digest"]]
    assert not moved, f"{len(moved)} of {len(records)} digests have moved; the first: {moved[0]}"
    assert summary(records) == pinned["records"].get(file), (
        f"{file}: not the pinned set of records; if that is meant, run: python tests/experiments/test_pins.py"
    )


def test_no_file_of_records_is_gone(pinned):
    assert sorted(pinned["records"]) == FILES
    assert sum(entry["records"] for entry in pinned["records"].values()) >= 8234


@pytest.mark.parametrize("kind", STREAMS)
def test_seeds_of_random_streams(kind, pinned):
    table = pinned["streams"][kind]
    assert table
    for name, seeds in table.items():
        assert {seed: STREAMS[kind](int(seed), name) for seed in seeds} == seeds, name


def main():
    pins = json.loads(PINNED.read_text("utf-8"))
    before, after = pins["records"], {}
    for file in FILES:
        records = read(file)
        moved = sum(recomputed(record) != record["digest"] for record in records)
        if moved:
            sys.exit(f"{file}: {moved} digests are not those of their configurations; nothing is written")
        after[file] = summary(records)
    for file in sorted({*before, *after}):
        if before.get(file) != after.get(file):
            old, new = (pins.get(file, {}).get("records", 0) for pins in (before, after))
            print(f"{file}: {old} -> {new} records" + " (replaced)" * (old == new))
    PINNED.write_text(json.dumps(pins | {"records": after}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
