"""Folders of photos as people have them: classes, tables, archives; what is left out is said, and the order never depends on the disk."""

import io
import json
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from support import photos
from vitscope.errors import ArgumentError, PhotoError
from vitscope.inputs.folders import open_folder


def photo(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photos.scene(24, 32, seed)).save(path)
    return path


def jpeg(seed):
    out = io.BytesIO()
    Image.fromarray(photos.scene(24, 32, seed)).save(out, "JPEG")
    return out.getvalue()


def labels(folder):
    return {entry.id: entry.label for entry in folder.entries}


def test_a_folder_for_each_class(tmp_path):
    for name in ("dog/b.png", "cat/2.png", "cat/10.png", "cat/deep/1.png"):
        photo(tmp_path / name)
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / ".hidden.png").write_bytes(b"")
    found = open_folder(tmp_path)
    assert list(labels(found).items()) == [("cat/10", "cat"), ("cat/2", "cat"), ("cat/deep/1", "cat"), ("dog/b", "dog")]
    assert found.kind == "folder, a folder for each class"
    assert [(one.path, one.reason) for one in found.left_out] == [("notes.txt", "not a picture by its name (.txt)")]
    sample = found.read(found.entries[1])
    assert (sample.id, sample.label, sample.path) == ("cat/2", "cat", str(tmp_path / "cat/2.png"))
    assert sample.size == (24, 32)


def test_split_folders_are_no_classes_and_one_folder_is_none(tmp_path):
    for name in ("train/cat/1.png", "train/dog/1.png", "test/cat/2.png"):
        photo(tmp_path / "splits" / name)
    assert labels(open_folder(tmp_path / "splits")) == {"test/cat/2": "cat", "train/cat/1": "cat", "train/dog/1": "dog"}
    photo(tmp_path / "one/images/1.png")
    photo(tmp_path / "one/images/2.png")
    found = open_folder(tmp_path / "one")
    assert set(labels(found).values()) == {""}
    assert found.kind == "folder, photos without labels"


def table(path, rows):
    """The same rows in the format that the ending names."""
    if path.suffix == ".parquet":
        pq.write_table(pa.table({key: [row[key] for row in rows] for key in rows[0]}), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        mark = "\t" if path.suffix == ".tsv" else ";"
        lines = [list(rows[0]), *(row.values() for row in rows)]
        path.write_text("\n".join(mark.join(map(str, line)) for line in lines), encoding="utf-8-sig")


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_a_table_of_labels_beside_flat_photos(tmp_path, ending):
    for name in ("a", "b", "c"):
        photo(tmp_path / "in" / f"{name}.png")
    file = tmp_path / f"labels{ending}"
    rows = [("a.png", 1, "cat"), ("b", 2, "dög"), ("gone.png", 1, "cat")]
    table(file, [{"Image": name, "site": site, "Class": label} for name, site, label in rows])
    found = open_folder(tmp_path / "in", labels_file=file)
    assert labels(found) == {"a": "cat", "b": "dög", "c": ""}
    assert found.kind == f"folder, labels from {file.name}"
    assert found.notes == ("1 of 3 photos have no label",)
    assert [(one.path, one.reason) for one in found.left_out] == [("gone.png", f"named in {file.name}, but there is no such file")]


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_hugging_face_image_folders(tmp_path, ending):
    photo(tmp_path / "train/1.png")
    photo(tmp_path / "train/2.png")
    photo(tmp_path / "test/1.png")
    table(tmp_path / f"train/metadata{ending}", [{"file_name": "1.png", "label": 3}, {"file_name": "2.png", "label": 4}])
    table(tmp_path / f"test/metadata{ending}", [{"file_name": "1.png", "label": 4}])
    found = open_folder(tmp_path)
    assert labels(found) == {"test/1": "4", "train/1": "3", "train/2": "4"}
    assert found.left_out == ()


def test_metadata_without_labels_leaves_the_folders_as_classes(tmp_path):
    photo(tmp_path / "cat/1.png")
    photo(tmp_path / "dog/1.png")
    table(tmp_path / "metadata.jsonl", [{"file_name": "cat/1.png", "text": "a cat"}, {"file_name": "dog/1.png", "text": "a dog"}])
    found = open_folder(tmp_path)
    assert labels(found) == {"cat/1": "cat", "dog/1": "dog"}
    assert "no column of labels" in found.kind


def test_a_csv_without_a_heading(tmp_path):
    photo(tmp_path / "in/a.png")
    (tmp_path / "l.csv").write_text("a.png,cat\n")
    assert labels(open_folder(tmp_path / "in", labels_file=tmp_path / "l.csv")) == {"a": "cat"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "without rows"),
        ("colour,size,weight\nred,1,2\n", "columns colour, size, weight"),
        ("file,label\na.png,cat\na.png,dog\n", "'a.png' is labelled 'cat' and 'dog'"),
        ("file,label\nx.png,cat\n", "none of its 1 file names is here"),
        ("file,label\n1.png,cat\n", "'1.png' fits 2 photos"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path, text, said):
    for name in ("a.png", "u/1.png", "v/1.png"):
        photo(tmp_path / "in" / name)
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(ArgumentError, match=said):
        open_folder(tmp_path / "in", labels_file=tmp_path / "l.csv")


def test_a_zip_archive_gives_the_same_as_its_folder(tmp_path):
    for i, name in enumerate(("cat/1.png", "dog/1.png", "dog/2.png")):
        photo(tmp_path / "in" / name, i)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((tmp_path / "in").rglob("*.png"), reverse=True):
            archive.write(path, path.relative_to(tmp_path / "in"))
        archive.writestr("__MACOSX/cat/._1.png", b"x")
    one, other = open_folder(tmp_path / "in"), open_folder(tmp_path / "a.zip")
    assert labels(one) == labels(other)
    assert other.left_out == ()
    for a, b in zip(one.entries, other.entries, strict=True):
        first, second = one.read(a), other.read(b)
        np.testing.assert_array_equal(first.pixels, second.pixels)
        assert first.digest == second.digest


def test_a_damaged_file_in_an_archive_is_refused_when_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.jpg", jpeg(0)[:-200])
        archive.writestr("b.jpg", b"")
    found = open_folder(tmp_path / "a.zip")
    for entry in found.entries:
        with pytest.raises(PhotoError, match=r"damaged|empty"):
            found.read(entry)


def test_an_npz_of_jpeg_files(tmp_path):
    packed = [jpeg(i) for i in range(11)]
    arrays = {"jpeg": np.frombuffer(b"".join(packed), np.uint8), "offsets": np.cumsum([0, *map(len, packed)])}
    np.savez(tmp_path / "t.npz", **arrays, labels=np.arange(11, dtype=np.uint8) % 2, names=np.array(["cat", "dog"]))
    found = open_folder(tmp_path / "t.npz")
    assert [entry.id for entry in found.entries][:2] == ["t/00", "t/01"]
    assert [entry.label for entry in found.entries][:3] == ["cat", "dog", "cat"]
    np.testing.assert_array_equal(found.read(found.entries[3]).photo, np.asarray(Image.open(io.BytesIO(packed[3])).convert("RGB")))
    np.savez(tmp_path / "bare.npz", **arrays)
    assert {entry.label for entry in open_folder(tmp_path / "bare.npz").entries} == {""}
    for broken, said in (({"jpeg": arrays["jpeg"]}, "no array offsets"), ({**arrays, "offsets": arrays["offsets"] + 1}, "offsets")):
        np.savez(tmp_path / "broken.npz", **broken)
        with pytest.raises(ArgumentError, match=said):
            open_folder(tmp_path / "broken.npz")


def test_thinning_spreads_evenly_and_a_digest_knows_names_labels_and_files(tmp_path):
    for i in range(10):
        photo(tmp_path / f"{i}.png")
    found = open_folder(tmp_path)
    assert [entry.id for entry in found.thinned(4).entries] == ["0", "2", "5", "7"]
    assert len(found.thinned(99)) == len(found.thinned(None)) == 10
    assert found.digest == open_folder(tmp_path).digest != found.thinned(9).digest
    photo(tmp_path / "3.png", seed=5)
    assert open_folder(tmp_path).digest != found.digest


def test_two_files_of_one_name_keep_their_endings(tmp_path):
    photo(tmp_path / "a.png")
    photo(tmp_path / "a.bmp")
    assert [entry.id for entry in open_folder(tmp_path).entries] == ["a.bmp", "a.png"]


def test_links_in_a_circle_end(tmp_path):
    photo(tmp_path / "a/1.png")
    (tmp_path / "a/again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "a/2.png").symlink_to(tmp_path / "nowhere.png")
    found = open_folder(tmp_path)
    assert [entry.path for entry in found.entries][:2] == ["a/1.png", "a/2.png"]
    with pytest.raises(PhotoError, match="no such file"):
        found.read(found.entries[1])


def test_what_is_no_folder_of_photos_is_refused(tmp_path):
    (tmp_path / "x.tar").write_bytes(b"")
    (tmp_path / "bad.zip").write_bytes(b"PK")
    (tmp_path / "none").mkdir()
    refused = {"gone": "no such folder", "x.tar": "not a folder", "bad.zip": "not a zip", "none": "no photo"}
    for name, said in refused.items():
        with pytest.raises(ArgumentError, match=said):
            open_folder(tmp_path / name)
