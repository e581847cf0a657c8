"""Embedded sets pinned, mirrors validated, torchvision's formats read, the network left alone."""

import gzip
import hashlib
import os
import pickle
import pickletools
import shutil
import socket
import struct
import tracemalloc
import zipfile
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import own
import pytest
import torch
from own import nothing_stays  # noqa: F401
from PIL import Image
from scipy.io import savemat
from torchvision import datasets as tv

from alcl.experiments import datasets
from alcl.experiments.datasets import (
    DATASETS,
    Dataset,
    DatasetSpec,
    data_root,
    dataset_name,
    dataset_spec,
    is_own,
    load_dataset,
    split_validation,
)

REAL_ROOT = os.environ.get("ALCL_DATA")
BENCHMARKS = [name for name, spec in DATASETS.items() if not spec.embedded]


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No network, and no data root but an empty one."""

    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("ALCL_DATA", str(tmp_path))


def arrays(name: str, n_train: int = 12, n_test: int = 5, seed: int = 0) -> dict[str, np.ndarray]:
    spec, rng, made = DATASETS[name], np.random.default_rng(seed), {}
    for part, n in (("train", n_train), ("test", n_test)):
        made[f"x_{part}"] = rng.integers(0, 256, (n, *spec.image_shape), dtype=np.uint8)
        made[f"y_{part}"] = rng.integers(0, spec.classes, n)
    if spec.tracks:
        made["track_train"] = np.arange(n_train) // 3
    return made


def mirror(folder: Path, name: str, **changes) -> Path:
    path = folder / f"{name}.npz"
    contents = arrays(name) | changes
    np.savez_compressed(path, **{key: value for key, value in contents.items() if value is not None})
    return path


# --- embedded ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["digits", "digits_rgb"])
def test_embedded_sets_have_the_contract_of_all(name):
    data, spec = load_dataset(name), DATASETS[name]
    channels = 3 if name == "digits_rgb" else 1
    for part, rows in zip(("train", "test"), spec.rows, strict=True):
        x, y = getattr(data, f"x_{part}"), getattr(data, f"y_{part}")
        assert (x.shape, x.dtype, y.shape, y.dtype) == ((rows, channels, 8, 8), torch.float32, (rows,), torch.int64)
        assert x.is_contiguous()
        assert (x.min(), x.max()) == (0, 1)
        # Stratified: every class has its share of both parts, to within one image.
        assert torch.allclose(y.bincount() / rows, torch.cat([data.y_train, data.y_test]).bincount() / 1797, atol=2e-3)
    assert data.track_train is None
    assert "digits" in repr(data)
    assert data.checksum[:12] in repr(data)


def test_digits_are_those_of_scikit_learn_each_once():
    from sklearn.datasets import load_digits

    data = load_dataset("digits")
    ours = torch.cat([data.x_train, data.x_test]).mul(16).flatten(1)
    assert torch.equal(ours, ours.round())
    rows = np.column_stack([ours.numpy(), torch.cat([data.y_train, data.y_test]).numpy()])
    theirs = np.column_stack([load_digits().data, load_digits().target])
    assert sorted(map(tuple, rows)) == sorted(map(tuple, theirs))


def test_digits_split_is_pinned():
    # A change of this sum changes every recorded result on digits: the split would no longer be the same.
    assert load_dataset("digits").checksum.startswith("26aaf0f8bc412e2d")


def test_digits_rgb_is_deterministic_and_pinned_as_far_as_the_photographs_are():
    first, second = load_dataset("digits_rgb"), load_dataset("digits_rgb")
    assert first.checksum == second.checksum
    # Another JPEG decoder may differ by a level here and there; another split or another recipe would not pass.
    assert first.x_train.mean().item() == pytest.approx(0.41180, abs=2e-4)
    assert first.x_test.std().item() == pytest.approx(0.31828, abs=2e-4)
    assert torch.equal(first.y_train, load_dataset("digits").y_train)


def test_digits_rgb_blends_digits_into_patches_of_its_own_side():
    # Undo the recipe by search: |p - d| = x means p = d + x or p = d - x. Where the digit is black, x is the patch.
    from sklearn.datasets import load_sample_images

    photos = np.stack(load_sample_images().images)
    windows = np.lib.stride_tricks.sliding_window_view(photos, (8, 8), axis=(1, 2)).transpose(0, 1, 2, 4, 5, 3)
    gray, colour = load_dataset("digits"), load_dataset("digits_rgb")
    for part, is_test in (("train", False), ("test", True)):
        for i in range(6):
            digit = (getattr(gray, f"x_{part}")[i, 0] * 255).round().numpy()
            blended = (getattr(colour, f"x_{part}")[i] * 255).round().permute(1, 2, 0).numpy()
            row, column = np.argwhere(digit == 0)[0]
            matches = []
            for photo, top, left in np.argwhere((windows[:, :, :, row, column] == blended[row, column]).all(-1)):
                patch = windows[photo, top, left].astype(float)
                if np.abs(np.abs(patch - digit[..., None]) - blended).max() <= 1:
                    matches.append(left)
            assert matches, "the blended image is no |patch - digit| of any patch"
            # Every fifth strip of 64 columns is the test side; a patch lies within one side.
            sides = [((left // 64) % 5 == 4, ((left + 7) // 64) % 5 == 4) for left in matches]
            assert (is_test, is_test) in sides


# --- mirrors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_mirror_is_read_exactly(name, tmp_path):
    mirror(tmp_path, name)
    expected, data = arrays(name), load_dataset(name, tmp_path)
    for part in ("train", "test"):
        x, y = getattr(data, f"x_{part}"), getattr(data, f"y_{part}")
        pixels = (x * 255).round().permute(0, 2, 3, 1).numpy().reshape(expected[f"x_{part}"].shape)
        assert np.array_equal(pixels, expected[f"x_{part}"])
        assert np.array_equal(y.numpy(), expected[f"y_{part}"])
        assert (x.dtype, y.dtype, x.ndim, x.is_contiguous()) == (torch.float32, torch.int64, 4, True)
        assert 0 <= x.min() <= x.max() <= 1
    assert (data.track_train is not None) == DATASETS[name].tracks
    if data.track_train is not None:
        assert np.array_equal(data.track_train.numpy(), expected["track_train"])


def test_the_checksum_is_of_content_not_of_storage(tmp_path):
    first = mirror(tmp_path, "mnist")
    sum_of_first = load_dataset("mnist", tmp_path).checksum
    np.savez(
        first, **{k: v.astype(np.int32) if k[0] == "y" else np.asfortranarray(v) for k, v in arrays("mnist").items()}
    )
    assert load_dataset("mnist", tmp_path).checksum == sum_of_first
    for key, value in arrays("mnist").items():
        mirror(tmp_path, "mnist", **{key: value[::-1]})
        assert load_dataset("mnist", tmp_path).checksum != sum_of_first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": None}, "no array x_train; such a file holds x_train, y_train, x_test, y_test"),
        ({"y_test": None}, "no array y_test"),
        ({"x_train": np.zeros((12, 32, 32), np.uint8)}, r"x_train must be uint8 of shape \(N, 32, 32, 3\)"),
        ({"x_train": np.zeros((12, 3, 32, 32), np.uint8)}, "x_train must be uint8 of shape"),
        ({"x_test": np.zeros((0, 32, 32, 3), np.uint8)}, "x_test must be uint8 of shape .* with N >= 1"),
        ({"x_test": np.zeros((5, 32, 32, 3), np.float32)}, "x_test must be uint8 .* got float32"),
        ({"x_test": np.uint8(3)}, "x_test must be uint8"),
        ({"y_train": np.zeros(11, np.int64)}, r"y_train must be integers of shape \(12,\)"),
        ({"y_train": np.zeros((12, 1), np.int64)}, "y_train must be integers of shape"),
        ({"y_train": np.zeros(12)}, "y_train must be integers .* got float64"),
        ({"y_train": np.full(12, 10)}, r"y_train must be in \[0, 9\]; got 10 to 10"),
        ({"y_test": np.full(5, -1)}, r"y_test must be in \[0, 9\]"),
        ({"y_test": np.array([None] * 5, dtype=object)}, "not a readable .npz archive of plain arrays"),
    ],
)
def test_a_mirror_that_is_not_what_it_should_be(changes, message, tmp_path):
    path = mirror(tmp_path, "cifar10", **changes)
    with pytest.raises(ValueError, match=message) as caught:
        load_dataset("cifar10", tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("track", [None, np.zeros(11, int), np.zeros(12)])
def test_a_gtsrb_mirror_needs_its_tracks(track, tmp_path):
    mirror(tmp_path, "gtsrb", track_train=track)
    with pytest.raises(ValueError, match="track_train"):
        load_dataset("gtsrb", tmp_path)


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99])
def test_a_truncated_mirror_is_one_clear_error(keep, tmp_path):
    path = mirror(tmp_path, "mnist")
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(ValueError, match=r"mnist\.npz: not a readable \.npz archive"):
        load_dataset("mnist", tmp_path)


def test_a_damaged_byte_is_noticed_without_a_checksum_file(tmp_path):
    path = mirror(tmp_path, "mnist")
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match="not a readable"):
        load_dataset("mnist", tmp_path)


def test_a_pickle_in_place_of_a_mirror_is_never_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "boom"),))

    payload = pickle.dumps(Bomb())
    assert "mkdir" in "".join(str(argument) for _, argument, _ in pickletools.genops(payload))
    (tmp_path / "mnist.npz").write_bytes(payload)
    with pytest.raises(ValueError, match="not a readable"):
        load_dataset("mnist", tmp_path)
    with zipfile.ZipFile(tmp_path / "mnist.npz", "w") as archive:
        header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
        header += b" " * (117 - len(header)) + b"\n"
        npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + payload
        for key in ("x_train", "y_train", "x_test", "y_test"):
            archive.writestr(f"{key}.npy", npy)
    with pytest.raises(ValueError, match="not a readable"):
        load_dataset("mnist", tmp_path)
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize(
    "style", ["{sum}  {name}\n", "{sum} *{name}\n", "{sum}  ./{name}", "\n{other}  x\n{sum}  {name}\n"]
)
def test_a_listed_checksum_is_verified(style, tmp_path):
    path = mirror(tmp_path, "mnist")
    good, sums = hashlib.sha256(path.read_bytes()).hexdigest(), tmp_path / "SHA256SUMS"
    sums.write_text(style.format(sum=good, name=path.name, other="0" * 64))
    assert len(load_dataset("mnist", tmp_path).x_train) == 12
    mirror(tmp_path, "mnist", x_test=np.zeros((5, 28, 28), np.uint8))
    with pytest.raises(ValueError, match=rf"mnist\.npz: checksum .* is not the one in SHA256SUMS, {good}"):
        load_dataset("mnist", tmp_path)


def test_an_unlisted_mirror_is_read_and_a_broken_list_reported(tmp_path):
    mirror(tmp_path, "mnist")
    (tmp_path / "SHA256SUMS").write_text("0" * 64 + "  other.npz\n")
    assert load_dataset("mnist", tmp_path).name == "mnist"
    (tmp_path / "SHA256SUMS").write_text("mnist.npz abc\n")
    with pytest.raises(ValueError, match="SHA256SUMS, line 1: must be"):
        load_dataset("mnist", tmp_path)


# --- what is refused unread --------------------------------------------------------------------------------------


def peak_of(function):
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refuse(folder, message):
    with pytest.raises(ValueError, match=message):
        load_dataset("mnist", folder)


JUNK = 32 << 20  # bytes


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("x_train", np.zeros(JUNK // 8), "x_train must be uint8"),
        ("x_train", np.zeros((JUNK // 2**10, 32, 32), np.uint8), r"x_train must be uint8 of shape \(N, 28, 28\)"),
        ("y_test", np.zeros(JUNK // 8, np.int64), "y_test must be integers of shape"),
    ],
)
def test_a_large_array_is_refused_unread(key, value, message, tmp_path):
    mirror(tmp_path, "mnist", **{key: value})
    assert peak_of(lambda: refuse(tmp_path, message)) < JUNK / 8


def test_arrays_that_nobody_needs_are_not_read(tmp_path):
    mirror(tmp_path, "mnist", junk=np.zeros(JUNK, np.uint8))
    assert peak_of(lambda: load_dataset("mnist", tmp_path)) < JUNK / 8


def test_a_mirror_has_no_more_rows_than_the_data_set(tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS, "mnist", replace(DATASETS["mnist"], rows=(11, 5)))
    mirror(tmp_path, "mnist")
    refuse(tmp_path, "x_train must have at most 11 rows; got 12")


@pytest.mark.parametrize("claimed", ["(1000000000, 28, 28)", "(11, 28, 28)"])
def test_a_header_that_promises_other_numbers_is_noticed(claimed, tmp_path):
    path = mirror(tmp_path, "mnist", x_train=None)
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {claimed}, }}".encode()
    header += b" " * (117 - len(header)) + b"\n"
    with zipfile.ZipFile(path, "a") as archive:
        content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(12 * 28 * 28)
        archive.writestr("x_train.npy", content)
    assert peak_of(lambda: refuse(tmp_path, "x_train does not have the .* bytes that its header promises")) < 1 << 20


# --- images of one's own -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "channels", "classes"), [((12, 16), 1, 3), ((20, 24, 3), 3, 2), ((5, 5), 1, 1), ((3, 3, 3), 3, 1)]
)
def test_a_file_of_ones_own_is_read_exactly(shape, channels, classes, tmp_path):
    made = own.images(shape, classes)
    path = own.npz(tmp_path / "faces.npz", **made)
    data = load_dataset(path)
    assert data.x_train.shape == (60, channels, *shape[:2])
    pixels = made["x_test"] if channels == 3 else made["x_test"][..., None]
    assert np.array_equal((data.x_test * 255).round().permute(0, 2, 3, 1).numpy(), pixels)
    assert data.y_train.tolist() == made["y_train"].tolist()
    assert data.name == dataset_name(str(path)) == f"faces.npz@{data.checksum[:16]}"
    assert dataset_spec(path) == DatasetSpec(shape, classes, (60, 30))


def test_a_file_of_ones_own_is_known_by_its_content(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    names = {
        dataset_name(own.npz(folder / file, save)).partition("@")[2]
        for folder in (tmp_path, tmp_path / "elsewhere")
        for file in ("faces.npz", "people.npz")
        for save in (np.savez, np.savez_compressed)
    }
    assert len(names) == 1
    path = own.npz(tmp_path / "faces.npz", seed=1)  # the same file with other pixels
    os.utime(path, ns=(1, 1))
    assert dataset_name(path).partition("@")[2] not in names


@pytest.mark.usefixtures("nothing_stays")
def test_a_name_by_content_is_found_where_the_file_is(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    path = own.npz(tmp_path / "here" / "faces.npz")
    name, data = dataset_name(path), load_dataset(path)
    assert torch.equal(load_dataset(name).x_train, data.x_train)  # last seen there
    datasets.seen.clear()
    with pytest.raises(FileNotFoundError, match=f"data set '{name}': no file {Path.cwd()}/faces.npz or "):
        load_dataset(name)
    assert load_dataset(name, tmp_path / "here").checksum == data.checksum
    datasets.seen.clear()
    monkeypatch.chdir(tmp_path / "here")
    assert load_dataset(name).name == load_dataset("faces.npz").name == name
    own.npz(path, seed=1)
    os.utime(path, ns=(1, 1))
    with pytest.raises(FileNotFoundError, match=f"not the content of {name}: {path}"):
        load_dataset(name)


def test_a_path_may_be_below_the_data_root(tmp_path):
    own.npz(tmp_path / "faces.npz")  # $ALCL_DATA
    assert load_dataset("faces.npz").name == dataset_name("faces.npz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_test": None}, "no array x_test; such a file holds x_train, y_train, x_test, y_test"),
        ({"x_train": np.zeros((60, 12), np.uint8)}, r"x_train must be uint8 of shape \(N, H, W\) or \(N, H, W, 3\)"),
        ({"x_train": np.zeros((60, 12, 16, 4), np.uint8)}, r"x_train must be uint8 of shape \(N, H, W\) or"),
        ({"x_test": np.zeros((30, 16, 12), np.uint8)}, r"x_test must be uint8 of shape \(N, 12, 16\)"),
        ({"x_train": np.zeros((60, 12, 16))}, "x_train must be uint8 .* got float64"),
        ({"y_train": np.full(60, -1)}, r"y_train must be in \[0, 2\]; got -1"),
        ({"y_train": np.zeros(60)}, "y_train must be integers .* got float64"),
    ],
)
def test_a_file_of_ones_own_that_is_no_data_set(changes, message, tmp_path):
    contents = {key: value for key, value in (own.images() | changes).items() if value is not None}
    np.savez(tmp_path / "faces.npz", **contents)
    with pytest.raises(ValueError, match=message) as caught:
        load_dataset(tmp_path / "faces.npz")
    assert str(tmp_path / "faces.npz") in str(caught.value)


def test_a_file_of_ones_own_that_is_not_there():
    with pytest.raises(FileNotFoundError, match=r"data set 'people\.npz': no file .*people\.npz or "):
        load_dataset("people.npz")
    assert is_own("a/b.npz")
    assert is_own("b.npz@0123456789abcdef")
    assert not any(is_own(name) for name in ("mnist", "b.npz@0123", "b.npy", None, 3))


# --- where, and what not -------------------------------------------------------------------------------------


def test_root_is_the_argument_then_the_environment_then_the_cache(monkeypatch, tmp_path):
    assert data_root(tmp_path / "here") == tmp_path / "here"
    assert data_root("~/here") == Path.home() / "here"
    monkeypatch.setenv("ALCL_DATA", "/somewhere")
    assert data_root() == Path("/somewhere")
    monkeypatch.setenv("ALCL_DATA", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert data_root() == Path("/cache/alcl")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert data_root() == Path.home() / ".cache" / "alcl"


def test_the_environment_says_where_mirrors_are(tmp_path):
    mirror(tmp_path, "svhn")
    assert load_dataset("svhn").x_train.shape == (12, 3, 32, 32)


@pytest.mark.parametrize("bad", ["minst", "MNIST", "", None, 3, ["mnist"]])
def test_an_unknown_name_is_answered_with_the_legal_ones(bad):
    with pytest.raises(ValueError, match=f"name must be one of {', '.join(DATASETS)}"):
        load_dataset(bad)


@pytest.mark.parametrize("name", BENCHMARKS)
@pytest.mark.parametrize("there", [True, False])
def test_a_missing_benchmark_names_the_legal_ways_and_writes_nothing(name, there, tmp_path):
    root = tmp_path if there else tmp_path / "absent"
    with pytest.raises(FileNotFoundError) as caught:
        load_dataset(name, root)
    for way in (str(root), f"{name}.npz", "$ALCL_DATA", "download=True"):
        assert way in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_is_frozen():
    with pytest.raises(FrozenInstanceError):
        load_dataset("digits").name = "mnist"


# --- torchvision: its real readers, on small files in the real formats --------------------------------------------


def write_idx(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
    )


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def write_as_torchvision_does(name: str, root: Path, made: dict[str, np.ndarray], monkeypatch) -> None:
    """Lay `made` out in `root` as torchvision would have, with the md5 sums it will ask for."""
    if name in ("mnist", "fashion_mnist"):
        raw = root / {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}[name] / "raw"
        for part, prefix in (("train", "train"), ("test", "t10k")):
            write_idx(raw / f"{prefix}-images-idx3-ubyte", made[f"x_{part}"])
            write_idx(raw / f"{prefix}-labels-idx1-ubyte", made[f"y_{part}"])
    elif name == "cifar10":
        folder = root / "cifar-10-batches-py"
        folder.mkdir(parents=True)
        rows = {f"data_batch_{i + 1}": index for i, index in enumerate(np.array_split(np.arange(12), 5))}
        for file in (*rows, "test_batch"):
            part, index = ("test", slice(None)) if file == "test_batch" else ("train", rows[file])
            planes = made[f"x_{part}"][index].transpose(0, 3, 1, 2).reshape(-1, 3072)
            batch = {"data": planes, "labels": made[f"y_{part}"][index].tolist()}
            (folder / file).write_bytes(pickle.dumps(batch))
        (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
        monkeypatch.setattr(tv.CIFAR10, "train_list", [[file, md5(folder / file)] for file in rows])
        monkeypatch.setattr(tv.CIFAR10, "test_list", [["test_batch", md5(folder / "test_batch")]])
        monkeypatch.setitem(tv.CIFAR10.meta, "md5", md5(folder / "batches.meta"))
    elif name == "svhn":
        root.mkdir(parents=True, exist_ok=True)
        for part in ("train", "test"):
            labels = made[f"y_{part}"].copy()
            labels[labels == 0] = 10  # the published files call the digit 0 class 10
            file = root / f"{part}_32x32.mat"
            savemat(file, {"X": made[f"x_{part}"].transpose(1, 2, 3, 0), "y": labels[:, None].astype(np.uint8)})
            monkeypatch.setitem(tv.SVHN.split_list, part, ["http://localhost", file.name, md5(file)])
    else:
        base = root / "gtsrb"
        train_rows = zip(made["x_train"], made["y_train"], made["track_train"] % 1000, strict=True)
        for frame, (x, y, track) in enumerate(train_rows):
            path = base / "GTSRB" / "Training" / f"{y:05d}" / f"{track:05d}_{frame:05d}.ppm"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(x).save(path)
        for label in range(43):  # torchvision numbers classes by the sorted folders, so all of them must be there
            (base / "GTSRB" / "Training" / f"{label:05d}").mkdir(parents=True, exist_ok=True)
        images = base / "GTSRB" / "Final_Test" / "Images"
        images.mkdir(parents=True)
        lines = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
        for i, (x, y) in enumerate(zip(made["x_test"], made["y_test"], strict=True)):
            Image.fromarray(x).save(images / f"{i:05d}.ppm")
            lines.append(f"{i:05d}.ppm;32;32;5;5;27;27;{y}")
        (base / "GT-final_test.csv").write_text("\n".join(lines))


def small(name: str, monkeypatch) -> dict[str, np.ndarray]:
    """Twelve train and five test rows that the loader will take for the complete data set."""
    made = arrays(name)
    monkeypatch.setitem(DATASETS, name, replace(DATASETS[name], rows=(12, 5)))
    if name == "gtsrb":
        # Every class present, in the order torchvision lists files: by class, then by track.
        made = arrays(name, n_train=86)
        made["y_train"] = np.repeat(np.arange(43), 2)
        made["track_train"] = 1000 * made["y_train"] + np.tile([0, 7], 43)
        monkeypatch.setitem(DATASETS, name, replace(DATASETS[name], rows=(86, 5)))
    return made


def same(data: Dataset, made: dict[str, np.ndarray], shuffled: bool = False) -> None:
    if shuffled:  # gtsrb: rows of train in another order; there, a track has one frame and names its row
        assert not np.array_equal(data.track_train.numpy(), made["track_train"])
        assert len(data.y_train[:20].unique()) > 10  # of 43 classes, listed two by two
        row = data.track_train.argsort()
        columns = {key: getattr(data, key)[row] for key in ("x_train", "y_train", "track_train")}
        data = replace(data, **columns)
    for part in ("train", "test"):
        pixels = (getattr(data, f"x_{part}") * 255).round().permute(0, 2, 3, 1).numpy()
        assert np.array_equal(pixels.reshape(made[f"x_{part}"].shape), made[f"x_{part}"])
        assert np.array_equal(getattr(data, f"y_{part}").numpy(), made[f"y_{part}"])
    if "track_train" in made:
        assert np.array_equal(data.track_train.numpy(), made["track_train"])


SOURCES = {
    "mnist": tv.MNIST,
    "fashion_mnist": tv.FashionMNIST,
    "cifar10": tv.CIFAR10,
    "svhn": tv.SVHN,
    "gtsrb": tv.GTSRB,
}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_files_that_torchvision_left_are_read(name, monkeypatch, tmp_path):
    made = small(name, monkeypatch)
    write_as_torchvision_does(name, tmp_path, made, monkeypatch)
    same(load_dataset(name, tmp_path), made, shuffled=name == "gtsrb")
    # A mirror goes first.
    np.savez(tmp_path / f"{name}.npz", **made | {"x_test": made["x_test"][::-1]})
    same(load_dataset(name, tmp_path), made | {"x_test": made["x_test"][::-1]})


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_download_becomes_a_mirror_and_nothing_else(name, monkeypatch, tmp_path):
    made, root = small(name, monkeypatch), tmp_path / "new"

    def download(self):
        assert Path(self.root).parent == root
        if not any(Path(self.root).iterdir()):  # once for both parts
            write_as_torchvision_does(name, Path(self.root), made, monkeypatch)

    monkeypatch.setattr(SOURCES[name], "download", download)
    first = load_dataset(name, root, download=True)
    same(first, made, shuffled=name == "gtsrb")
    assert {path.name for path in root.iterdir()} <= {f"{name}.npz", f".{name}.lock"}
    # From now on it is there, with and without permission, and no network is needed.
    monkeypatch.setattr(SOURCES[name], "download", lambda self: pytest.fail("downloaded twice"))
    assert load_dataset(name, root).checksum == first.checksum
    assert load_dataset(name, root, download=True).checksum == first.checksum


@pytest.mark.parametrize("name", BENCHMARKS)
@pytest.mark.parametrize("failure", [ConnectionResetError("cut off"), RuntimeError("File not found or corrupted.")])
def test_a_download_that_fails_leaves_nothing_that_counts_as_data(name, failure, monkeypatch, tmp_path):
    made = small(name, monkeypatch)

    def download(self):
        write_as_torchvision_does(name, Path(self.root), made, monkeypatch)
        raise failure

    monkeypatch.setattr(SOURCES[name], "download", download)
    with pytest.raises(RuntimeError, match=rf"could not download '{name}' .*{failure}.*nothing was kept"):
        load_dataset(name, tmp_path, download=True)
    assert {path.name for path in tmp_path.iterdir()} <= {f".{name}.lock"}
    with pytest.raises(FileNotFoundError):
        load_dataset(name, tmp_path)


def test_what_a_killed_download_leaves_is_not_taken_for_data(monkeypatch, tmp_path):
    made = small("mnist", monkeypatch)
    write_as_torchvision_does("mnist", tmp_path / ".mnist-download-abc", made, monkeypatch)
    np.savez(tmp_path / ".mnist-download-abc" / "mnist.npz", **made)
    with pytest.raises(FileNotFoundError):
        load_dataset("mnist", tmp_path)


def test_a_half_extracted_copy_is_not_taken_for_data(monkeypatch, tmp_path):
    # Complete in torchvision's eyes: it asks only whether the folder (gtsrb) or the files (mnist) exist.
    made = small("gtsrb", monkeypatch)
    write_as_torchvision_does("gtsrb", tmp_path, made, monkeypatch)
    next((tmp_path / "gtsrb" / "GTSRB" / "Training" / "00042").iterdir()).unlink()
    with pytest.raises(FileNotFoundError, match="x_train must have 86 rows; got 85"):
        load_dataset("gtsrb", tmp_path)
    made = small("mnist", monkeypatch)
    write_as_torchvision_does("mnist", tmp_path, made, monkeypatch)
    images = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:5000])
    with pytest.raises(FileNotFoundError, match="torchvision files there"):
        load_dataset("mnist", tmp_path)


@pytest.mark.parametrize("download", [False, True])
def test_a_pickle_among_cifars_batches_runs_nothing(download, monkeypatch, tmp_path):
    """Even one whose md5 sum is the right one."""

    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "boom"),))

    write_as_torchvision_does("cifar10", tmp_path, small("cifar10", monkeypatch), monkeypatch)
    batch = tmp_path / "cifar-10-batches-py" / tv.CIFAR10.train_list[0][0]
    batch.write_bytes(pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, Bomb()]}))
    listed = [[batch.name, md5(batch)], *tv.CIFAR10.train_list[1:]]
    monkeypatch.setattr(tv.CIFAR10, "train_list", listed)
    if download:  # it arrives by network, checksum and all
        source = tmp_path / "cifar-10-batches-py"
        monkeypatch.setattr(tv.CIFAR10, "download", lambda self: shutil.copytree(source, f"{self.root}/{source.name}"))
        root = tmp_path / "elsewhere"
        with pytest.raises(RuntimeError, match=r"refers to (posix|nt)\.mkdir, which no array of numbers needs"):
            load_dataset("cifar10", root, download=True)
        assert not list(root.glob("*.npz"))
    else:
        with pytest.raises(FileNotFoundError, match=r"refers to (posix|nt)\.mkdir"):
            load_dataset("cifar10", tmp_path)
    assert not (tmp_path / "boom").exists()
    with batch.open("rb") as stream:
        pickle.load(stream)
    assert (tmp_path / "boom").exists()  # so it was armed


def test_corrupted_torchvision_files_are_refused_by_their_md5(monkeypatch, tmp_path):
    made = small("svhn", monkeypatch)
    write_as_torchvision_does("svhn", tmp_path, made, monkeypatch)
    (tmp_path / "test_32x32.mat").write_bytes((tmp_path / "train_32x32.mat").read_bytes())
    with pytest.raises(FileNotFoundError, match="corrupted"):
        load_dataset("svhn", tmp_path)


def test_gtsrb_photographs_of_any_size_become_32_by_32(monkeypatch, tmp_path):
    made = small("gtsrb", monkeypatch)
    write_as_torchvision_does("gtsrb", tmp_path, made, monkeypatch)
    gradient = np.broadcast_to(np.linspace(0, 255, 96).astype(np.uint8)[None, :, None], (80, 96, 3))
    Image.fromarray(np.ascontiguousarray(gradient)).save(tmp_path / "gtsrb/GTSRB/Final_Test/Images/00000.ppm")
    x = load_dataset("gtsrb", tmp_path).x_test[0] * 255
    assert x.shape == (3, 32, 32)
    # The mean over each group of three columns, to within the width of the filter.
    assert torch.allclose(x[0, 0, 2:-2], torch.linspace(0, 255, 96).reshape(32, 3).mean(1)[2:-2], atol=2)


def test_an_archive_with_the_wrong_md5_sum_is_refused(monkeypatch, tmp_path):
    # The md5 promise is torchvision's; this holds it to it, without a network: a wrong archive is refused.
    from torchvision.datasets import utils

    def fetch(url, filename, chunk_size=0):
        Path(filename).write_bytes(gzip.compress(b"not the archive"))

    monkeypatch.setattr(utils, "_urlretrieve", fetch)
    monkeypatch.setattr(utils, "_get_redirect_url", lambda url, max_hops=3: url)
    with pytest.raises(RuntimeError, match=r"(?s)could not download 'mnist' .*corrupted.*nothing was kept"):
        load_dataset("mnist", tmp_path, download=True)
    assert not (tmp_path / "mnist.npz").exists()


# --- validation ----------------------------------------------------------------------------------------------


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_random_split_is_a_partition_of_the_size_asked_for():
    data = load_dataset("digits")
    train, validation = split_validation(data, 200, generator())
    assert (len(train), len(validation), train.dtype, validation.dtype) == (1237, 200, torch.int64, torch.int64)
    assert torch.equal(torch.cat([train, validation]).sort().values, torch.arange(1437))
    assert torch.equal(train, train.sort().values)
    again, other = (split_validation(data, 200, generator(seed))[1] for seed in (0, 1))
    assert torch.equal(validation, again)
    assert not torch.equal(validation, other)


@pytest.mark.parametrize("n_validation", [1, 4, 6, 7, 11])
def test_tracks_are_never_torn_apart(n_validation, tmp_path):
    track = np.array([5, 5, 9, 9, 9, 2, 2, 2, 2, 9, 7, 5])
    mirror(tmp_path, "gtsrb", track_train=track)
    data = load_dataset("gtsrb", tmp_path)
    for seed in range(20):
        try:
            train, validation = split_validation(data, n_validation, generator(seed))
        except ValueError as error:
            assert "every one of the 4 tracks" in str(error)  # noqa: PT017
            assert n_validation > 12 - 4
            continue
        assert torch.equal(torch.cat([train, validation]).sort().values, torch.arange(12))
        assert not set(track[train.numpy()].flat) & set(track[validation.numpy()].flat)
        assert n_validation <= len(validation) < n_validation + 4


@pytest.mark.parametrize(
    ("n", "g", "error", "name"),
    [
        (0, 0, ValueError, "n_validation"),
        (1437, 0, ValueError, "n_validation"),
        (-1, 0, ValueError, "n_validation"),
        (0.2, 0, TypeError, "n_validation"),
        (True, 0, TypeError, "n_validation"),
        (10, 0, TypeError, "generator"),
    ],
)
def test_illegal_splits_name_what_is_wrong(n, g, error, name):
    with pytest.raises(error, match=f"{name} must be"):
        split_validation(load_dataset("digits"), n, g if name == "generator" else generator(g))


# --- the real mirrors, where there are any -------------------------------------------------------------------------


@pytest.mark.parametrize("name", BENCHMARKS)
def test_real_mirror(name):
    if not REAL_ROOT or not Path(REAL_ROOT, f"{name}.npz").exists():
        pytest.skip(f"no mirror of {name} in $ALCL_DATA")
    data = load_dataset(name, REAL_ROOT)
    assert (
        data.x_train.shape[1:]
        == data.x_test.shape[1:]
        == (len(DATASETS[name].image_shape) ** 2 // 3, *DATASETS[name].image_shape[:2])
    )
    assert (data.x_train.min(), data.x_train.max()) == (0, 1)
    assert set(data.y_train.tolist()) == set(data.y_test.tolist()) == set(range(DATASETS[name].classes))
    train, validation = split_validation(data, 1000, generator())
    assert len(train) + len(validation) == len(data.x_train)
    if name == "gtsrb":
        assert not set(data.track_train[train].tolist()) & set(data.track_train[validation].tolist())
        assert 1000 <= len(validation) < 1031
        # A track is frames of one sign: one label each.
        for track in data.track_train.unique()[:50]:
            assert len(data.y_train[data.track_train == track].unique()) == 1
