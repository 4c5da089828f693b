"""MNIST: 60 000 + 10 000 handwritten digits of 28 x 28 pixels (LeCun, Cortes & Burges 1998)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from perdure._typing import Array
from perdure.errors import ArgumentError
from perdure.experiments.data.files import digest, find
from perdure.experiments.data.idx import read_idx

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
SOURCE = (
    "get MNIST (LeCun, Cortes & Burges 1998; published by its authors and by many mirrors): the four IDX files "
    + ", ".join(FILES)
    + ", gzipped or not, into one folder, and pass --mnist DIR"
)


@dataclass(frozen=True)
class Digits:
    """Images (N, height, width), bytes, and labels (N,) from 0 to 9, for training and for testing."""

    train_images: Array = field(repr=False)
    train_labels: Array = field(repr=False)
    test_images: Array = field(repr=False)
    test_labels: Array = field(repr=False)


def files(folder: Path) -> list[Path]:
    """The four files, or an error that names the first one missing."""
    return [find(folder, name, SOURCE) for name in FILES]


def fingerprint(folder: Path) -> str:
    """Digest of the four files, the same for gzipped ones."""
    return digest(files(folder))


def read_mnist(folder: Path) -> Digits:
    """The digits in a folder; remembered within a process while the files do not change.

    Raises:
        ArgumentError: a file is missing, damaged, of another shape or type, images and labels differ in number, labels above 9.
    """
    paths = files(Path(folder))
    return _read(tuple(map(str, paths)), tuple(path.stat().st_mtime_ns for path in paths))


@lru_cache(maxsize=1)
def _read(paths: tuple[str, ...], changed: tuple[int, ...]) -> Digits:
    arrays = []
    for images, labels in ((paths[0], paths[1]), (paths[2], paths[3])):
        x, y = _bytes(Path(images), 3), _bytes(Path(labels), 1)
        if len(x) != len(y) or len(x) == 0:
            raise ArgumentError(
                f"expected {Path(images).name} and {Path(labels).name} to hold as many images as labels, but got {len(x)} and {len(y)}: "
                "they are not of one set"
            )
        if int(y.max()) > 9:
            raise ArgumentError(f"expected the labels in {Path(labels).name} to be digits from 0 to 9, but got {int(y.max())}")
        arrays += [x, y]
    if arrays[0].shape[1:] != arrays[2].shape[1:]:
        raise ArgumentError(f"expected training and test images of one size, but got {arrays[0].shape[1:]} and {arrays[2].shape[1:]}")
    return Digits(*arrays)


def _bytes(path: Path, axes: int) -> Array:
    array = read_idx(path)
    if array.ndim != axes or array.dtype != np.uint8:
        what = "images: bytes with 3 axes" if axes == 3 else "labels: bytes with 1 axis"
        raise ArgumentError(f"expected {path.name} to hold {what}, but got {array.dtype} with {array.ndim}: the files may be swapped")
    return array
