"""Image data sets as tensors in [0, 1]: two embedded ones, five benchmarks, offline mirrors first.

``load_dataset(name)`` never touches the network unless it is told to (``download=True``). A benchmark is looked
for, in this order:

1. as a mirror ``<root>/<name>.npz``: uint8 ``x_train`` (N, H, W) or (N, H, W, 3), ``y_train``, ``x_test``,
   ``y_test`` (and ``track_train`` for gtsrb), verified against ``<root>/SHA256SUMS`` where that file lists it;
2. as files that torchvision has left in ``root`` earlier;
3. with ``download=True``, on the network, through torchvision, which verifies the md5 sum of what it fetches. The
   download happens in a temporary folder; what lands in ``root`` is the finished mirror, in one step, so that
   an interrupted download leaves nothing that could later be taken for data.

Rows are in an order that mixes the classes, so that the first n of them are a fair sample.

Anyone's own images are loaded by the path of their ``.npz`` in place of a name. It holds the same arrays, of any size;
shape and classes are read from it (labels 0 to K - 1), and its rows should be mixed too. Such a data set is known by
its content: its name is ``faces.npz@1f2e3d4c5b6a7988``, the file's name and the beginning of the checksum, and by that
name it is found again where it was last seen, in the working directory, or in ``root``, wherever that is.

``root`` is the argument, else ``$ALCL_DATA``, else ``alcl`` in the user's cache directory.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

__all__ = [
    "DATASETS",
    "Dataset",
    "DatasetSpec",
    "data_root",
    "dataset_name",
    "dataset_spec",
    "is_own",
    "load_dataset",
    "split_validation",
]


@dataclass(frozen=True)
class DatasetSpec:
    """What a data set must look like: image shape (H, W) or (H, W, 3), number of classes, official row counts.

    Of one's own data set: what it does look like.
    """

    image_shape: tuple[int, ...]
    classes: int
    rows: tuple[int, int]
    embedded: bool = False
    tracks: bool = False


DATASETS: dict[str, DatasetSpec] = {
    "digits": DatasetSpec((8, 8), 10, (1437, 360), embedded=True),
    "digits_rgb": DatasetSpec((8, 8, 3), 10, (1437, 360), embedded=True),
    "mnist": DatasetSpec((28, 28), 10, (60_000, 10_000)),
    "fashion_mnist": DatasetSpec((28, 28), 10, (60_000, 10_000)),
    "cifar10": DatasetSpec((32, 32, 3), 10, (50_000, 10_000)),
    "svhn": DatasetSpec((32, 32, 3), 10, (73_257, 26_032)),
    "gtsrb": DatasetSpec((32, 32, 3), 43, (26_640, 12_630), tracks=True),
}

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images float32 in [0, 1], shape (N, C, H, W); labels int64, shape (N,).

    `checksum` is the SHA-256 of the 8-bit pixels and the labels, shapes and order of rows included: two data sets
    with one checksum are the same tensors, wherever they were read from. `track_train` (gtsrb only, else None)
    tells which train rows are frames of one and the same physical sign: int64, shape (N_train,).
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    name: str
    checksum: str
    track_train: Tensor | None = None

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.x_train.shape[1:]))
        rows = f"{len(self.x_train)} train, {len(self.x_test)} test"
        return f"Dataset({self.name!r}: {rows}, images {shape}, sha256 {self.checksum[:12]})"


def data_root(root: str | os.PathLike | None = None) -> Path:
    """The folder of mirrors: `root`, else $ALCL_DATA, else $XDG_CACHE_HOME/alcl, else ~/.cache/alcl."""
    if root is not None:
        return Path(root).expanduser()
    if os.environ.get("ALCL_DATA"):
        return Path(os.environ["ALCL_DATA"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "alcl"


def load_dataset(name: str | os.PathLike, root: str | os.PathLike | None = None, *, download: bool = False) -> Dataset:
    """Load a data set by name, or from a file of one's own.

    Args:
        name: one of `DATASETS`. `digits` (8x8 gray) and `digits_rgb` (8x8 colour) come with scikit-learn and
            need no file; the others are benchmarks. Or the path of an `.npz` with images of one's own.
        root: folder of mirrors and downloads; see `data_root`. Not used by the embedded data sets.
        download: allow a missing benchmark to be fetched through torchvision and kept in `root` as a mirror.

    Raises:
        ValueError: unknown name, or a file that is damaged, of the wrong shape, type or label range, or whose
            checksum is not the one listed. What is refused by its type or shape has not been read into memory.
        FileNotFoundError: the benchmark is not in `root`, and `download` is False; or there is no such file.
        RuntimeError: the download failed; nothing of it is kept.
    """
    if is_own(name):
        return _load_own(name, root)
    if not isinstance(name, str) or name not in DATASETS:
        raise ValueError(f"name must be one of {', '.join(DATASETS)}, or the path of an .npz; got {name!r}")
    if name == "digits":
        return _as_dataset(name, _digits(), white=16)
    if name == "digits_rgb":
        return _as_dataset(name, _digits_rgb())
    folder = data_root(root)
    mirror = folder / f"{name}.npz"
    if mirror.exists():
        return _as_dataset(name, _read_mirror(mirror, DATASETS[name]))
    try:
        return _as_dataset(name, _read_torchvision(name, folder, download=False))
    except Exception as error:  # whatever torchvision makes of a missing or half-extracted copy
        unusable = f"torchvision files there: {error}"
    if not download:
        raise FileNotFoundError(
            f"data set {name!r} is not in {folder} (no {mirror.name}; {unusable}). Either put a mirror there "
            f"(uint8 x_train, x_test, and y_train, y_test), or point root or $ALCL_DATA at a folder that has one, "
            f"or allow the network: load_dataset({name!r}, download=True)"
        )
    return _as_dataset(name, _read_mirror(_download(name, mirror), DATASETS[name]))


def split_validation(dataset: Dataset, n_validation: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Split the train rows at random into (train indices, validation indices), both int64 and ascending.

    Where rows come in tracks (gtsrb), whole tracks go to one side, because frames of one sign are near copies of
    each other: tracks are drawn at random until they hold at least `n_validation` rows, so that the validation
    part may be larger by less than one track. Otherwise it has exactly `n_validation` rows.

    Raises:
        TypeError: `n_validation` is not an integer, or `generator` not a torch.Generator.
        ValueError: `n_validation` is not in [1, N_train - 1], or would leave no track for training.
    """
    rows = len(dataset.x_train)
    if isinstance(n_validation, bool) or not isinstance(n_validation, int):
        raise TypeError(f"n_validation must be an integer in [1, {rows - 1}]; got {n_validation!r}")
    if not 1 <= n_validation < rows:
        raise ValueError(f"n_validation must be an integer in [1, {rows - 1}]; got {n_validation}")
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator; got {type(generator).__name__}")
    held_out = torch.zeros(rows, dtype=torch.bool)
    if dataset.track_train is None:
        held_out[torch.randperm(rows, generator=generator)[:n_validation]] = True
    else:
        _, track, size = dataset.track_train.unique(return_inverse=True, return_counts=True)
        order = torch.randperm(len(size), generator=generator)
        needed = int((size[order].cumsum(0) < n_validation).sum()) + 1
        if needed == len(size):
            raise ValueError(
                f"n_validation = {n_validation} would take every one of the {len(size)} tracks; take fewer rows"
            )
        held_out = torch.isin(track, order[:needed])
    return (~held_out).nonzero().squeeze(1), held_out.nonzero().squeeze(1)


# --- from arrays to tensors ------------------------------------------------------------------------------------


def _as_dataset(name: str, arrays: Arrays, white: int = 255) -> Dataset:
    """Validated uint8 arrays to tensors; `white` is the pixel value that becomes 1."""
    digest = hashlib.sha256()
    tensors = {}
    for key, array in arrays.items():
        # Labels of any integer type are hashed as int64, so that a mirror may store them as it likes.
        array = np.ascontiguousarray(array, dtype=np.uint8 if key.startswith("x_") else np.dtype("<i8"))
        digest.update(f"{key}{array.shape}".encode())
        digest.update(array)
        tensor = torch.from_numpy(array)
        if key.startswith("x_"):
            tensor = tensor.unsqueeze(1) if tensor.ndim == 3 else tensor.permute(0, 3, 1, 2).contiguous()
            tensor = tensor.to(torch.float32).div_(white)
        tensors[key] = tensor
    return Dataset(**tensors, name=name, checksum=digest.hexdigest())


class _Header(NamedTuple):
    """What is known of an array before it is read."""

    dtype: np.dtype
    shape: tuple[int, ...]


def _check_form(spec: DatasetSpec, arrays: Mapping[str, Any], where: str, complete: bool = False) -> list[str]:
    """Raise ValueError unless types and shapes of arrays, or headers, are what `spec` says; the keys in the order of
    hashing. A mirror may hold fewer rows than there are, a `complete` data set may not."""
    keys = ["x_train", "y_train", "x_test", "y_test"] + ["track_train"] * spec.tracks
    if missing := [key for key in keys if key not in arrays]:
        raise ValueError(f"{where}: no array {', '.join(missing)}; such a file holds {', '.join(keys)}")
    for part, rows in zip(("train", "test"), spec.rows, strict=True):
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        count = x.shape[0] if x.shape else 0
        legal = f"uint8 of shape (N, {', '.join(map(str, spec.image_shape))}) with N >= 1"
        if x.dtype != np.uint8 or x.shape[1:] != spec.image_shape or count == 0:
            raise ValueError(f"{where}: x_{part} must be {legal}; got {x.dtype} of shape {x.shape}")
        if complete and count < rows:
            raise ValueError(f"{where}: x_{part} must have {rows} rows; got {count} (incomplete?)")
        if count > rows:
            raise ValueError(f"{where}: x_{part} must have at most {rows} rows; got {count}")
        legal = f"integers of shape ({count},), as x_{part} has rows"
        if not np.issubdtype(y.dtype, np.integer) or y.shape != (count,):
            raise ValueError(f"{where}: y_{part} must be {legal}; got {y.dtype} of shape {y.shape}")
    if spec.tracks:
        track, legal = arrays["track_train"], arrays["y_train"].shape
        if not np.issubdtype(track.dtype, np.integer) or track.shape != legal:
            raise ValueError(
                f"{where}: track_train must be integers of shape {legal}; got {track.dtype} of {track.shape}"
            )
    return keys


def _check_labels(spec: DatasetSpec, arrays: Arrays, where: str) -> None:
    for key in ("y_train", "y_test"):
        y = arrays[key]
        if y.min() < 0 or y.max() >= spec.classes:
            raise ValueError(f"{where}: {key} must be in [0, {spec.classes - 1}]; got {y.min()} to {y.max()}")


# --- the embedded data sets ------------------------------------------------------------------------------------


def _digits() -> Arrays:
    """scikit-learn's digits, 8x8, pixels 0 to 16: a fixed split, stratified by class (1437 train, 360 test).

    The split is at random over images, so a writer may appear on both sides (scikit-learn does not say who wrote
    what). This eases the task alike for every loss that is compared.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    train, test = train_test_split(np.arange(len(bunch.target)), test_size=360, stratify=bunch.target, random_state=0)
    x, y = bunch.images.astype(np.uint8), bunch.target
    return {"x_train": x[train], "y_train": y[train], "x_test": x[test], "y_test": y[test]}


# Columns of the 427 x 640 photographs that patches are cut from. Every fifth strip of 64 columns is kept for
# the test part: no photograph pixel is seen on both sides, and both sides see every part of the scenes.
PHOTO_COLUMNS = {"train": ((0, 256), (320, 576)), "test": ((256, 320), (576, 640))}


def _digits_rgb() -> Arrays:
    """The digits blended into patches of scikit-learn's two sample photographs: |patch - digit| (MNIST-M recipe).

    The recipe is that of Ganin et al. (JMLR 17, 2016), section on MNIST-M. The size stays 8x8: a larger image would
    interpolate the digit (pixels without information) at several times the cost of every training run.
    All arithmetic is on integers, so that the result is the same on every machine that decodes the two JPEG
    photographs alike.
    """
    from sklearn.datasets import load_sample_images

    photos = np.stack(load_sample_images().images).astype(np.int16)
    arrays, rng, side = _digits(), np.random.default_rng(0), np.arange(8)
    for part, strips in PHOTO_COLUMNS.items():
        digit = (arrays[f"x_{part}"].astype(np.int16) * 255 + 8) // 16
        n, columns = len(digit), np.array(strips)
        strip = columns[rng.integers(len(columns), size=n)]
        photo = rng.integers(len(photos), size=n)
        top = rng.integers(photos.shape[1] - 8 + 1, size=n)
        left = rng.integers(strip[:, 0], strip[:, 1] - 8 + 1)
        patch = photos[photo[:, None, None], (top[:, None] + side)[:, :, None], (left[:, None] + side)[:, None]]
        arrays[f"x_{part}"] = np.abs(patch - digit[..., None]).astype(np.uint8)
    return arrays


# --- benchmarks: mirrors ---------------------------------------------------------------------------------------


def _listed_checksum(path: Path) -> str | None:
    """The SHA-256 that `SHA256SUMS` beside `path` lists for it; None where there is no such file or entry."""
    sums = path.with_name("SHA256SUMS")
    if not sums.exists():
        return None
    for number, line in enumerate(sums.read_text(encoding="utf-8").splitlines(), 1):
        entry = re.fullmatch(r"([0-9a-fA-F]{64}) [ *](?:\./)?(.+)", line.rstrip())
        if entry is None and line.strip():
            raise ValueError(f"{sums}, line {number}: must be '<sha256>  <file name>'; got {line[:80]!r}")
        if entry is not None and entry[2] == path.name:
            return entry[1].lower()
    return None


def _read_mirror(path: Path, spec: DatasetSpec | None) -> Arrays:
    """The arrays of an `.npz`, checked against `spec`; against what its own header says, where there is none."""
    listed = _listed_checksum(path)
    if listed is not None:
        with path.open("rb") as file:
            found = _sha256(file)
        if found != listed:
            raise ValueError(
                f"{path}: checksum {found} is not the one in SHA256SUMS, {listed}; restore the file, or remove its "
                "line if the change is meant"
            )
    with _readable(path):
        headers = _headers(path)
    keys = _check_form(spec or _spec_of(headers, str(path)), headers, str(path))
    with _readable(path), np.load(path, allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in keys}
    _check_labels(spec or _spec_of(arrays, str(path)), arrays, str(path))
    return arrays


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever a truncated or foreign file makes numpy, zipfile or zlib raise
        raise ValueError(f"{path}: not a readable .npz archive of plain arrays ({error})") from error


def _headers(path: Path) -> dict[str, _Header]:
    """Type and shape of the arrays that a data set may hold, from the few bytes before their numbers: so what is to be
    refused need not be read, however large it is."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    found = {}
    with zipfile.ZipFile(path) as archive:
        for key in {"x_train", "y_train", "x_test", "y_test", "track_train"}.intersection(
            name.removesuffix(".npy") for name in archive.namelist()
        ):
            with archive.open(f"{key}.npy") as member:
                version = np.lib.format.read_magic(member)
                if version not in readers:
                    raise ValueError(f"{key} has a header of version {version}")
                shape, _, dtype = readers[version](member)
                size = member.tell() + dtype.itemsize * math.prod(shape)
            if dtype.hasobject:
                raise ValueError(f"{key} holds objects")
            if archive.getinfo(f"{key}.npy").file_size != size:
                raise ValueError(f"{key} does not have the {size} bytes that its header promises")
            found[key] = _Header(dtype, shape)
    return found


# --- images of one's own ---------------------------------------------------------------------------------------

_BY_CONTENT = re.compile(r"([^/\\]+)\.npz@([0-9a-f]{16})")
#: Where files were last seen, by the checksum in their name. Worker processes are told (see `alcl.experiments`).
seen: dict[str, str] = {}


def is_own(name: Any) -> bool:
    """Whether this is the path of an `.npz`, or the name that its data set has got."""
    text = os.fspath(name) if isinstance(name, (str, os.PathLike)) else ""
    return text.endswith(".npz") or _BY_CONTENT.fullmatch(text) is not None


def dataset_name(name: str | os.PathLike, root: str | os.PathLike | None = None) -> str:
    """The name of a data set as records have it: of a path, "faces.npz@1f2e3d4c5b6a7988"; any other as it is.

    Raises what `load_dataset` raises for a file that is not there or not a data set.
    """
    if not is_own(name) or _BY_CONTENT.fullmatch(str(name)):
        return name
    return _identify(_find(os.fspath(name), root))[0]


def dataset_spec(name: str | os.PathLike, root: str | os.PathLike | None = None) -> DatasetSpec:
    """Image shape, classes and rows of a data set: the entry in `DATASETS`, or what a file of one's own holds."""
    if is_own(name):
        return _identify(_find(os.fspath(name), root))[1]
    if name not in DATASETS:
        raise ValueError(f"name must be one of {', '.join(DATASETS)}, or the path of an .npz; got {name!r}")
    return DATASETS[name]


def _load_own(name: str | os.PathLike, root: str | os.PathLike | None) -> Dataset:
    path = _find(os.fspath(name), root)
    data = _as_dataset(path.name, _read_mirror(path, None))
    return replace(data, name=f"{path.name}@{data.checksum[:16]}")


def _find(name: str, root: str | os.PathLike | None) -> Path:
    """The file of a path, as it is or below `root`, or of a name by content. FileNotFoundError says where it is not."""
    content = _BY_CONTENT.fullmatch(name)
    file = f"{content[1]}.npz" if content else name
    places = [Path(file).expanduser().absolute(), data_root(root).absolute() / file]
    if content and content[2] in seen:
        places.insert(0, Path(seen[content[2]]))
    there = [place for place in dict.fromkeys(places) if place.is_file()]
    for place in there:
        if content is None or _identify(place)[0].endswith(content[2]):
            return place
    problem = f"not the content of {name}: {', '.join(map(str, there))}; and nothing at" if there else "no file"
    missing = [str(place) for place in dict.fromkeys(places) if place not in there]
    raise FileNotFoundError(f"data set {name!r}: {problem} {' or '.join(missing)}")


def _identify(path: Path) -> tuple[str, DatasetSpec]:
    """Name by content and looks of a file; read once, and again when it has changed."""
    status = path.stat()
    name, spec = _identify_version(path, status.st_mtime_ns, status.st_size)
    seen[name[-16:]] = str(path)
    return name, spec


@functools.lru_cache(maxsize=16)
def _identify_version(path: Path, *version: int) -> tuple[str, DatasetSpec]:
    arrays = _read_mirror(path, None)
    return f"{path.name}@{_as_dataset(path.name, arrays).checksum[:16]}", _spec_of(arrays, str(path))


def _spec_of(arrays: Mapping[str, Any], where: str) -> DatasetSpec:
    """What arrays, or headers, look like. Of headers the number of classes is not known: 0."""
    train = arrays.get("x_train")
    shape = () if train is None else train.shape
    if train is not None and not (len(shape) == 3 or (len(shape) == 4 and shape[3] == 3)):
        raise ValueError(f"{where}: x_train must be uint8 of shape (N, H, W) or (N, H, W, 3); got shape {shape}")
    labels = [arrays[key] for key in ("y_train", "y_test") if isinstance(arrays.get(key), np.ndarray)]
    rows = tuple(arrays[key].shape[0] if key in arrays and arrays[key].shape else 0 for key in ("x_train", "x_test"))
    classes = 1 + max((int(y.max()) for y in labels), default=-1)
    return DatasetSpec(shape[1:], classes, rows, tracks="track_train" in arrays)


def _sha256(file) -> str:
    # hashlib.file_digest is the same, from Python 3.11 on.
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


# --- benchmarks: torchvision -----------------------------------------------------------------------------------


def _read_torchvision(name: str, folder: Path, download: bool) -> Arrays:
    """Read a benchmark through torchvision from `folder`, complete or not at all."""
    from PIL import Image
    from torchvision import datasets as tv

    arrays: Arrays = {}
    for part in ("train", "test"):
        if name in ("mnist", "fashion_mnist"):
            source = {"mnist": tv.MNIST, "fashion_mnist": tv.FashionMNIST}[name]
            data = source(folder, train=part == "train", download=download)
            x, y = data.data.numpy(), data.targets.numpy()
        elif name == "cifar10":
            x, y = _read_cifar10(tv, folder, part, download)
        elif name == "svhn":
            data = tv.SVHN(folder, split=part, download=download)
            x, y = data.data.transpose(0, 2, 3, 1), data.labels
        else:
            data = tv.GTSRB(folder, split=part, download=download)
            # Photographs of 15 to 250 pixels a side, border included: all become 32 x 32. PIL's bilinear filter
            # averages over what it shrinks, so this is antialiased.
            images = (data[i][0].resize((32, 32), Image.Resampling.BILINEAR) for i in range(len(data)))
            x = np.stack([np.asarray(image) for image in images])
            y = np.asarray([label for _, label in data._samples])
            if part == "train":
                # Training/<class>/<track>_<frame>.ppm: tracks are numbered within their class.
                track = 1000 * y + np.asarray([int(Path(path).name.split("_")[0]) for path, _ in data._samples])
                # Listed class by class: shuffled once and for all, so that a prefix holds every class.
                order = np.random.default_rng(0).permutation(len(y))
                x, y, arrays["track_train"] = x[order], y[order], track[order]
        arrays[f"x_{part}"], arrays[f"y_{part}"] = x, y
    where = f"{name} from torchvision"
    keys = _check_form(DATASETS[name], arrays, where, complete=True)
    _check_labels(DATASETS[name], arrays, where)
    return {key: arrays[key] for key in keys}


class _PlainUnpickler(pickle.Unpickler):
    """Reads containers, numbers, text and numpy arrays, which is all that CIFAR's batches hold; calls nothing else."""

    LEGAL = (
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.LEGAL:
            raise pickle.UnpicklingError(f"refers to {module}.{name}, which no array of numbers needs")
        return super().find_class(module, name)


def _read_cifar10(tv: Any, folder: Path, part: str, download: bool) -> tuple[np.ndarray, np.ndarray]:
    """CIFAR-10's batches are pickles, and torchvision's reader would run whatever is in them: so they are read here."""
    source = tv.CIFAR10.__new__(tv.CIFAR10)  # for its download and its md5 sums; its __init__ is what unpickles
    source.root = str(folder)
    if download:
        source.download()
    batches = folder / source.base_folder
    for file, md5 in (*source.train_list, *source.test_list):
        if not tv.utils.check_integrity(str(batches / file), md5):
            raise RuntimeError(f"{batches / file}: not found or corrupted")
    images, labels = [], []
    for file, _ in source.train_list if part == "train" else source.test_list:
        with (batches / file).open("rb") as stream:
            batch = _PlainUnpickler(stream, encoding="latin1").load()
        images.append(batch["data"])
        labels += batch["labels"]
    return np.concatenate(images).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), np.asarray(labels)


def _download(name: str, mirror: Path) -> Path:
    """Fetch `name` through torchvision and leave it as the file `mirror`, or leave nothing."""
    try:
        mirror.parent.mkdir(parents=True, exist_ok=True)
        # One download for several processes that start at once: the later ones find the mirror.
        with FileLock(mirror.with_name(f".{name}.lock")):
            if not mirror.exists():
                with TemporaryDirectory(prefix=f".{name}-download-", dir=mirror.parent) as folder:
                    finished = Path(folder, mirror.name)
                    np.savez_compressed(finished, **_read_torchvision(name, Path(folder), download=True))
                    os.replace(finished, mirror)
    except Exception as error:  # network, disk, permission, or an archive that is not what torchvision expects
        raise RuntimeError(
            f"could not download {name!r} into {mirror.parent} through torchvision ({error}); nothing was kept"
        ) from error
    return mirror
