"""The store: shards come back as they went in, damage and gaps are made good, and another model's vectors are refused."""

import dataclasses
import random
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

from vitscope.errors import ArgumentError, ProofError
from vitscope.projection.store import Manifest, Rows, Shard, held, open_store, read_store, shard_rows

MADE = Manifest("builtin:photos", "abcd", "resize", "cpu", "float32", "pooled", (0, 2), "float32", 10, "f00d", 4, 2, {"torch": "1"})


def shard(first, last, dtype=np.float32, left_out=()):
    names = [f"p{i}" for i in range(first, last) if f"p{i}" not in left_out]
    n = len(names)
    rows = Rows(names, [f"{name}.png" for name in names], ["cat"] * n, ["dog"] * n, [0.5] * n, [""] * n)
    rng = np.random.default_rng(first)
    return Shard(rows, {layer: rng.standard_normal((n, 3)).astype(dtype) for layer in (0, 2)}, [(name, "broken") for name in left_out])


@pytest.fixture
def full(tmp_path):
    store = open_store(tmp_path / "s", MADE)
    for number, (first, last) in enumerate(store.spans):
        store.write(number, shard(first, last, left_out=("p5",) if number == 1 else ()))
    return store


def test_what_went_in_comes_out(full):
    store = read_store(full.folder)
    assert store.manifest == MADE
    assert store.rows().id == [f"p{i}" for i in range(10) if i != 5]
    assert store.left_out() == [("p5", "broken")]
    expected = np.concatenate([shard(0, 4).vectors[2], shard(4, 8, left_out=("p5",)).vectors[2], shard(8, 10).vectors[2]])
    np.testing.assert_array_equal(store.matrix(2), expected)
    assert [len(batch) for batch in store.batches(0)] == [4, 3, 2]
    assert store.tokens() == 1
    with pytest.raises(ArgumentError, match="layer 1; expected 0, 2"):
        store.matrix(1)


def test_half_precision_keeps_half_the_bytes_and_refuses_what_it_cannot_hold(tmp_path):
    made = dataclasses.replace(MADE, dtype="float16")
    store = open_store(tmp_path / "s", made)
    store.write(0, shard(0, 4))
    assert pq.read_schema(store.folder / "shard-000000.parquet").field("layer 0").type.value_type == "halffloat"
    batch = next(store.batches(0))
    np.testing.assert_array_equal(batch, shard(0, 4).vectors[0].astype(np.float16).astype(np.float32))
    large = shard(4, 8)
    large.vectors[2][1, 1] = 1e6
    with pytest.raises(ProofError, match=r"1 values of layer 2 are not finite as float16 \(the largest is 1e\+06\)"):
        store.write(1, large)


def test_tokens_keep_their_shape(tmp_path):
    store = open_store(tmp_path / "s", dataclasses.replace(MADE, vectors="tokens", layers=(0,), photos=4))
    one = shard(0, 4)
    tokens = np.arange(4 * 5 * 3, dtype=np.float32).reshape(4, 5, 3)
    store.write(0, Shard(one.rows, {0: tokens}, []))
    np.testing.assert_array_equal(next(store.batches(0)), tokens)
    np.testing.assert_array_equal(store.matrix(0), tokens.reshape(20, 3))
    assert store.tokens() == 5


def test_a_stretch_without_one_readable_photo(tmp_path):
    store = open_store(tmp_path / "s", MADE)
    store.write(0, shard(0, 4, left_out=("p0", "p1", "p2", "p3")))
    assert store.missing() == [1, 2]
    store.write(1, shard(4, 8))
    store.write(2, shard(8, 10))
    assert store.rows().id == ["p4", "p5", "p6", "p7", "p8", "p9"]
    assert store.matrix(0).shape == (6, 3)
    assert len(store.left_out()) == 4


def test_missing_and_damaged_shards_are_made_again_with_the_same_bytes(full):
    paths = [full.folder / f"shard-00000{i}.parquet" for i in range(3)]
    before = [path.read_bytes() for path in paths]
    paths[0].unlink()
    paths[1].write_bytes(before[1][:100])
    (full.folder / ".shard-000000.parquet.x.part").write_bytes(b"left by a kill")
    store = open_store(full.folder, MADE)
    assert store.missing() == [0, 1]
    with pytest.raises(ArgumentError, match="2 of 3 shards are missing"):
        read_store(full.folder)
    store.write(0, shard(0, 4))
    store.write(1, shard(4, 8, left_out=("p5",)))
    assert [path.read_bytes() for path in paths] == before
    assert sorted(path.name for path in full.folder.iterdir()) == ["manifest.json", *(path.name for path in paths)]


def test_photos_that_are_not_accounted_for_are_an_error(full):
    with pytest.raises(ProofError, match="2 photos and 0 left out; expected 4 together"):
        full.write(0, shard(8, 10))


@pytest.mark.parametrize(
    ("name", "value"), [("model", "timm:other"), ("weights", "beef"), ("layers", (0, 1)), ("listing", "1"), ("preprocessing", "crop")]
)
def test_another_model_folder_or_option_is_refused(full, name, value):
    with pytest.raises(ArgumentError, match=f"were made with {name} .*remove that folder, or choose another --out"):
        open_store(full.folder, dataclasses.replace(MADE, **{name: value}))


def test_a_folder_that_is_no_store_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="no store of vectors"):
        read_store(tmp_path)
    (tmp_path / "shard-000000.parquet").write_bytes(b"")
    with pytest.raises(ArgumentError, match="shards without a manifest"):
        open_store(tmp_path, MADE)


def test_two_runs_at_once_are_refused_and_a_killed_one_holds_nothing(tmp_path):
    holding = f"import time\nfrom pathlib import Path\nfrom vitscope.projection.store import held\nwith held(Path({str(tmp_path)!r})):"
    holding += "\n    print('held', flush=True)\n    time.sleep(60)\n"
    other = subprocess.Popen([sys.executable, "-c", holding], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ArgumentError, match="another run is at work here"), held(tmp_path):
            pass
    finally:
        other.kill()
        other.wait()
    with held(tmp_path):
        pass


def test_shards_are_small_enough_to_hold():
    assert shard_rows(768 * 4 * 12) == 512
    assert shard_rows(197 * 768 * 4 * 12) == 8
    assert shard_rows(10**9) == 1


def test_sigkill_while_shards_are_written_loses_none_and_changes_none(tmp_path):
    code = """
import sys
import numpy as np
from pathlib import Path
from vitscope.projection.store import Manifest, Rows, Shard, open_store
made = Manifest("m", "w", "p", "cpu", "float32", "pooled", (0,), "float32", 400, "l", 10, 2)
store = open_store(Path(sys.argv[1]), made)
for number in store.missing():
    names = [f"p{i}" for i in range(number * 10, number * 10 + 10)]
    rows = Rows(names, names, names, names, [0.5] * 10, names)
    store.write(number, Shard(rows, {0: np.random.default_rng(number).standard_normal((10, 4000))}, []))
    print(number, flush=True)
"""
    command = [sys.executable, "-c", code]
    subprocess.run([*command, tmp_path / "whole"], check=True, stdout=subprocess.DEVNULL)
    chance, cut = random.Random(0), []
    for _ in range(5):
        process = subprocess.Popen([*command, tmp_path / "cut"], stdout=subprocess.PIPE, text=True)
        for _ in range(chance.randint(1, 6)):
            process.stdout.readline()
        time.sleep(0.01 * chance.random())  # somewhere within the next shard
        process.kill()
        process.wait()
        cut.append(len(list((tmp_path / "cut").glob("shard-*"))))
    subprocess.run([*command, tmp_path / "cut"], check=True, stdout=subprocess.DEVNULL)
    assert any(0 < count < 40 for count in cut), f"no kill fell into the writing: {cut}"
    one, other = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("whole", "cut"))
    assert one == other
