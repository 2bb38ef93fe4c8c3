"""A result is there in full or not at all."""

import os
import stat

import pytest

from vitscope.core import files
from vitscope.core.files import write_atomically
from vitscope.errors import OutputError


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "r.html"
    assert write_atomically(path, b"one") == path
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert names(tmp_path) == ["r.html"]


def test_the_file_is_as_readable_as_any_other(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    write_atomically(tmp_path / "ours", b"")
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "r.html"
    path.write_bytes(b"old")

    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OutputError, match=r"r\.html: cannot write: No space left on device; choose a folder with space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["r.html"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(OutputError, match=r"make the folder .*nowhere first"):
        write_atomically(tmp_path / "nowhere" / "r.html", b"x")


def test_a_folder_is_not_a_file(tmp_path):
    with pytest.raises(OutputError, match="this is a folder: give a file name"):
        write_atomically(tmp_path, b"x")
    assert names(tmp_path) == []


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def stop(_handle):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "r.html", b"x")
    assert names(tmp_path) == []


def test_no_write_permission(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        write_atomically(tmp_path / "r.html", b"x")
