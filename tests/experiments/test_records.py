"""The record store under use and abuse: damage is found, kills and full disks lose nothing, writers take turns."""

import errno
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alcl.experiments import records
from alcl.experiments.records import Problem, RecordStore, to_frame


def make(number, **more):
    return {
        "digest": f"run{number:04d}",
        "config": {"method": "alcl", "seed": number},
        "metrics": {"psnr": 0.1},
        **more,
    }


@pytest.fixture
def store(tmp_path):
    store = RecordStore(tmp_path / "study.jsonl")
    for number in range(4):
        assert store.append(make(number))
    return store


def lines_of(store):
    return store.path.read_bytes().splitlines(keepends=True)


def quietly(store):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return store.read()


# ------------------------------------------------------------ the format


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(content=st.dictionaries(st.text(max_size=5).filter(lambda key: key not in ("check", "digest")), json_values))
def test_what_is_appended_is_read(content):
    line = records._canonical({**content, "digest": "d", "check": records._check({**content, "digest": "d"})})
    assert b"\n" not in line
    assert records._parse(line + b"\n") == ({"d": {**content, "digest": "d"}}, [])


def test_line_is_canonical_json_with_the_sha256_of_the_rest(tmp_path):
    store = RecordStore(tmp_path / "study.jsonl")
    store.append({"digest": "d", "b": 1.5, "a": "κ"})
    check = hashlib.sha256('{"a":"κ","b":1.5,"digest":"d"}'.encode()).hexdigest()
    assert store.path.read_text() == f'{{"a":"κ","b":1.5,"check":"{check}","digest":"d"}}\n'
    assert store.read() == [{"digest": "d", "b": 1.5, "a": "κ"}]


def test_field_types_become_json_and_what_is_not_finite_null(tmp_path):
    store = RecordStore(tmp_path / "study.jsonl")
    values = {"a": np.float32(0.5), "b": torch.tensor([1.0, float("inf")]), "c": (1, float("nan")), "d": np.arange(2)}
    store.append({"digest": "d", "metrics": values})
    assert store.read()[0]["metrics"] == {"a": 0.5, "b": [1.0, None], "c": [1, None], "d": [0, 1]}
    json.loads(store.path.read_text(), parse_constant=pytest.fail)  # strict: no NaN, no Infinity


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"config": {}}, 'record: must be a dict with a "digest"'),
        ({"digest": 3}, 'record: must be a dict with a "digest"'),
        (["digest"], 'record: must be a dict with a "digest"'),
        ({"digest": "d", "check": "x"}, 'the key "check" is the store'),
        (
            {"digest": "d", "config": {"loss": object()}},
            r"record\['config'\]\['loss'\]: must be a JSON value .* object",
        ),
        ({"digest": "d", "config": {1: 2}}, r"record\['config'\]: keys must be strings, not 1"),
    ],
)
def test_bad_record_is_refused_and_nothing_written(tmp_path, record, message):
    store = RecordStore(tmp_path / "new" / "study.jsonl")
    with pytest.raises(ValueError, match=message):
        store.append(record)
    assert list(tmp_path.iterdir()) == []


def test_reading_what_is_not_there_makes_nothing(tmp_path):
    store = RecordStore(tmp_path / "study.jsonl")
    assert (store.read(), store.verify(), store.repair(), store.digests()) == ([], [], [], set())
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------ equal digests


def test_same_record_twice_is_stored_once(store):
    before = store.path.read_bytes()
    assert store.append(make(2)) is False
    assert store.path.read_bytes() == before


def test_taken_digest_is_refused_or_replaced_in_place(store):
    before = lines_of(store)
    with pytest.raises(
        ValueError, match=r"digest 'run0001' is taken by another record, line 2 of .*study\.jsonl; pass"
    ):
        store.append(make(1, note="again"))
    assert lines_of(store) == before
    assert store.append(make(1, note="again"), replace=True)
    assert store.read()[1] == make(1, note="again")
    assert [lines_of(store)[i] for i in (0, 2, 3)] == [before[i] for i in (0, 2, 3)]
    assert store.verify() == []
    assert sorted(p.name for p in store.path.parent.iterdir()) == ["study.jsonl", "study.jsonl.lock"]


def test_a_digest_inside_another_record_is_not_taken(store):
    store.append({"digest": "child", "parent": {"digest": "run9999"}})
    assert store.append(make(9999))
    assert store.digests() == {"run0000", "run0001", "run0002", "run0003", "child", "run9999"}


# ------------------------------------------------------------ damage


def test_a_line_that_lost_its_end_anywhere_is_called_torn(tmp_path):
    store = RecordStore(tmp_path / "study.jsonl")
    store.append({"digest": "a", "options": {"learn": ["alpha"], "deep": {}}, "history": [1.5, None, True, -2e-7]})
    whole = store.path.read_bytes()
    for length in range(2, len(whole) - 1):
        store.path.write_bytes(whole[:length])
        assert store.verify() == [Problem(1, "torn")], whole[:length]


def test_every_single_altered_byte_is_noticed(store):
    raw = store.path.read_bytes()
    rng = random.Random(0)
    whole = {record["digest"]: record for record in store.read()}
    for position in range(len(raw)):
        damaged = bytearray(raw)
        damaged[position] = rng.choice([b for b in range(256) if b != raw[position]])
        store.path.write_bytes(damaged)
        problems = store.verify()
        assert problems, (position, bytes(damaged[position : position + 1]))
        number = raw[:position].count(b"\n") + 1
        assert {problem.line for problem in problems} & {number, number + 1}
        assert all(whole[record["digest"]] == record for record in quietly(store))
        assert len(quietly(store)) >= 2  # a lost newline costs the two lines it joined, nothing else


def test_the_same_content_in_other_bytes_is_noticed(store):
    store.path.write_bytes(store.path.read_bytes().replace(b'"psnr":0.1', b'"psnr": 0.10', 1))
    assert store.verify() == [Problem(1, "altered")]


def test_torn_line_is_found_isolated_and_rerun(store):
    raw = store.path.read_bytes()
    store.path.write_bytes(raw[:-20])
    assert store.verify() == [Problem(4, "torn")]
    with pytest.warns(UserWarning, match=r"study\.jsonl: left out line 4: torn\. RecordStore\.repair\(\)"):
        assert [record["digest"] for record in store.read()] == ["run0000", "run0001", "run0002"]
    assert store.append(make(3))  # the run is run again
    assert lines_of(store)[3] == raw.splitlines()[3][:-19] + b"\n"
    assert store.verify() == [Problem(4, "torn")]
    assert quietly(store) == [make(number) for number in range(4)]


def test_line_that_lost_only_its_newline_is_whole(store):
    store.path.write_bytes(store.path.read_bytes()[:-1])
    assert store.verify() == []
    store.append(make(4))
    assert store.read() == [make(number) for number in range(5)]
    assert store.path.read_bytes().count(b"\n") == 5


def damage(store):
    """One bad line of each kind between good ones; returns the good lines and the bad ones."""
    good = lines_of(store)
    unnamed = {"config": {}}
    unnamed = records._canonical(unnamed | {"check": records._check(unnamed)}) + b"\n"
    bad = [b"<<<<<<< HEAD\n", good[0].replace(b"0.1", b"9.9"), unnamed, b"{}\n", good[1], b"\xff\n", good[3][:30]]
    store.path.write_bytes(b"".join([good[0], bad[0], bad[1], good[1], *bad[2:4], good[2], *bad[4:6], good[3], bad[6]]))
    return good, bad


def test_verify_names_each_kind_of_problem(store):
    damage(store)
    assert store.verify() == [
        Problem(2, "not JSON"),
        Problem(3, "altered"),
        Problem(5, "missing digest"),
        Problem(6, "missing digest"),
        Problem(8, "duplicate"),
        Problem(9, "not JSON"),
        Problem(11, "torn"),
    ]
    assert str(store.verify()[0]) == "line 2: not JSON"


def test_repair_moves_bad_lines_and_keeps_good_ones_byte_for_byte(store):
    good, bad = damage(store)
    store.path.chmod(0o640)
    problems = store.verify()
    assert store.repair() == problems
    assert store.path.read_bytes() == b"".join(good)
    rejected = store.path.with_name("study.jsonl.rejected")
    assert rejected.read_bytes() == b"".join(bad) + b"\n"
    assert store.verify() == []
    assert store.path.stat().st_mode & 0o777 == 0o640
    stamp = store.path.stat().st_mtime_ns
    assert store.repair() == []
    assert store.path.stat().st_mtime_ns == stamp
    names = ["study.jsonl", "study.jsonl.lock", "study.jsonl.rejected"]
    assert sorted(p.name for p in store.path.parent.iterdir()) == names


def test_repair_through_a_link_keeps_the_link(store, tmp_path):
    link = tmp_path / "link.jsonl"
    link.symlink_to(store.path)
    store.path.write_bytes(store.path.read_bytes()[:-5])
    RecordStore(link).repair()
    assert link.is_symlink()
    assert store.verify() == []


# ------------------------------------------------------------ disks that fail


def test_full_disk_cuts_back_a_partial_line(store, monkeypatch):
    before = store.path.read_bytes()
    write = os.write
    written = []

    def half_then_full(descriptor, content):
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(write(descriptor, bytes(content)[: len(content) // 2]))
        return written[0]

    monkeypatch.setattr(os, "write", half_then_full)
    with pytest.raises(OSError, match=r"cannot write .*study\.jsonl: No space left on device") as caught:
        store.append(make(9))
    assert caught.value.errno == errno.ENOSPC
    assert written[0] > 0  # some of the line was on the disk
    assert store.path.read_bytes() == before
    monkeypatch.undo()
    assert store.append(make(9))
    assert store.read()[-1] == make(9)


LIMITED = """
import resource, sys; IMPORT
size = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, size + 50))
store = RecordStore(sys.argv[1])
try: store.append({"digest": "large", "values": list(range(100))})
except OSError as error: print(error)
"""


def test_kernels_own_partial_write_is_cut_back(store):
    before = store.path.read_bytes()
    command = child(LIMITED, store.path, len(before))  # room for 50 bytes: the first write is short, the second fails
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"cannot write {store.path}: File too large" in out
    assert store.path.read_bytes() == before


def test_full_disk_leaves_no_new_file_behind(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="cannot write"):
        RecordStore(tmp_path / "study.jsonl").append(make(1))
    assert not (tmp_path / "study.jsonl").exists()


@pytest.mark.parametrize("act", ["replace", "repair"])
def test_full_disk_leaves_the_file_whole_when_rewriting(store, monkeypatch, act):
    store.path.write_bytes(store.path.read_bytes() + b"torn")
    before = store.path.read_bytes()

    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match=r"cannot (write|repair) .*study\.jsonl: No space"):
        _ = store.repair() if act == "repair" else store.append(make(1, note=1), replace=True)
    assert store.path.read_bytes() == before
    assert not [p for p in store.path.parent.iterdir() if p.name.startswith(".")]


def test_folder_that_is_a_file_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"cannot write .*file/study\.jsonl: "):
        RecordStore(tmp_path / "file" / "study.jsonl").append(make(1))
    assert (tmp_path / "file").read_text() == "in the way"


READ_ONLY = """
import os, sys, warnings; IMPORT
if os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)  # permissions do not bind root
warnings.simplefilter("ignore")
store = RecordStore(sys.argv[1])
print(len(store.read()))
try: store.append({"digest": "d"})
except OSError as error: print(type(error).__name__, error)
"""


def test_read_only_folder_can_be_read_and_is_not_written(store):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder).resolve() / "study.jsonl"
        before = store.path.read_bytes()[:-20]  # torn, so that a reader would like the lock
        path.write_bytes(before)
        os.chmod(folder, 0o555)
        out = subprocess.run(child(READ_ONLY, path), capture_output=True, text=True, check=True).stdout.splitlines()
        os.chmod(folder, 0o755)
        assert out == ["3", f"PermissionError [Errno 13] cannot write {path}: Permission denied"]
        assert [p.read_bytes() for p in path.parent.iterdir()] == [before]


# ------------------------------------------------------------ several processes


def child(script, *arguments):
    """Command line of a Python that has the store but not the whole package, which would take seconds to import."""
    load = (
        "import importlib.util as u; spec = u.spec_from_file_location('records', RECORDS); "
        "m = u.module_from_spec(spec); sys.modules['records'] = m; spec.loader.exec_module(m); "
        "RecordStore = m.RecordStore"
    ).replace("RECORDS", repr(records.__file__))
    return [sys.executable, "-c", script.replace("IMPORT", load), *map(str, arguments)]


# Writes a few bytes at a time, as a kernel may, and is killed at a given one of these writes.
KILLED = """
import os, signal, sys, time; IMPORT
write, writes = os.write, 0
def slowly(descriptor, content):
    global writes
    if str(writes) == sys.argv[3]: os.kill(os.getpid(), signal.SIGKILL)
    writes += 1
    time.sleep(0.0002)
    return write(descriptor, bytes(content)[:40])
m.os.write = slowly
store = RecordStore(sys.argv[1])
for number in range(int(sys.argv[2]), 10**6):
    store.append({"digest": f"run{number:07d}", "values": list(range(40))})
    write(1, b"%d\\n" % number)
"""


def test_killed_writers_lose_at_most_the_line_in_flight(tmp_path):
    """A line takes five writes or more: these kills fall before, inside and at the end of one."""
    store = RecordStore(tmp_path / "study.jsonl")
    acknowledged, torn = set(), 0
    for attempt, write in enumerate((0, 1, 3, 8, 24, 25, 26, 27)):
        command = child(KILLED, store.path, attempt * 10**5, write)
        writer = subprocess.run(command, stdout=subprocess.PIPE)
        assert writer.returncode == -signal.SIGKILL
        acknowledged |= {f"run{int(number):07d}" for number in writer.stdout.split()}
        problems = store.verify()
        assert [problem.kind for problem in problems] == ["torn"] * len(problems)
        assert len(problems) - torn <= 1
        torn = len(problems)
        assert acknowledged <= store.digests()
    assert torn > 0  # else this test has tried nothing
    assert store.digests() == acknowledged
    before = store.digests()
    assert len(store.repair()) == torn
    assert store.digests() == before
    assert store.verify() == []


def test_reader_does_not_take_a_line_being_written_for_a_torn_one(tmp_path):
    store = RecordStore(tmp_path / "study.jsonl")
    with subprocess.Popen(child(KILLED, store.path, 0, "never"), stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        reads = [store.verify() for _ in range(30)]
        writer.kill()
    assert writer.returncode == -signal.SIGKILL  # it was writing all the while
    assert reads == [[]] * 30


MANY = """
import sys; IMPORT
store = RecordStore(sys.argv[1])
for number in range(40):
    store.append({"digest": f"{sys.argv[2]}-{number}", "values": [0.5] * 200})
    store.append({"digest": f"shared-{number}", "values": [number]})
"""


def test_writers_take_turns_and_readers_are_never_stuck_nor_misled(tmp_path):
    store = RecordStore(tmp_path / "study.jsonl")
    writers = [subprocess.Popen(child(MANY, store.path, name)) for name in ("a", "b", "c")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a line being written is not a torn one
        while any(writer.poll() is None for writer in writers):
            seen = store.read()
            assert len({record["digest"] for record in seen}) == len(seen)
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    wanted = {f"{name}-{number}" for name in ("a", "b", "c", "shared") for number in range(40)}
    assert store.digests() == wanted
    assert store.verify() == []


def test_two_stores_on_one_file_in_one_process_do_not_lock_each_other_out(store):
    other = RecordStore(store.path)
    store.path.write_bytes(store.path.read_bytes() + b"{torn")
    assert other.verify() == [Problem(5, "torn")]
    assert other.append(make(7))
    assert store.append(make(8))
    assert store.repair() == [Problem(5, "torn")]
    assert {"run0007", "run0008"} < other.digests()


# ------------------------------------------------------------ tables


def test_to_frame_has_a_column_for_each_entry():
    frame = to_frame(
        [
            make(1, wall_time=2.5, versions={"torch": "2"}, trajectory={"alpha": [2.0, 1.5]}),
            {"digest": "x", "config": {"method": "mse", "seed": 1}, "metrics": {"psnr": None, "ssim": None}},
        ]
    )
    assert list(frame.columns) == [
        *("method", "seed", "psnr", "digest", "wall_time", "versions.torch", "trajectory.alpha", "ssim")
    ]
    assert frame["psnr"].dtype == frame["ssim"].dtype == float
    assert frame["psnr"].isna().tolist() == [False, True]
    assert frame["trajectory.alpha"][0] == [2.0, 1.5]
    assert frame.groupby("method").psnr.median()["alcl"] == 0.1


def test_to_frame_keeps_the_section_where_names_clash():
    rows = [
        {"digest": str(i), "config": {"loss": "alcl", "seed": i}, "metrics": {"loss": 0.5}, "seed": i} for i in (1, 2)
    ]
    frame = to_frame(rows)
    assert frame["config.loss"].tolist() == ["alcl"] * 2
    assert frame["metrics.loss"].tolist() == [0.5] * 2
    assert frame["seed"].tolist() == [1, 2]  # said twice, but the same
    assert set(frame.columns) == {"digest", "seed", "config.loss", "metrics.loss"}


def test_to_frame_of_nothing_is_empty():
    assert to_frame([]).empty
