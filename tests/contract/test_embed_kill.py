"""Killed at random moments and started again, ``vitscope embed`` ends with the same bytes as a run that was never stopped."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitscope.web.built import built

#: What a run leaves besides its vectors; the page only where the front end was built.
ENDINGS = (".parquet", ".png", *([".html"] if built() else []))


@pytest.mark.long
def test_sigkill_at_random_times_ends_with_the_same_files(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(1100):
        path = tmp_path / "in" / f"class {i % 4}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8) // (1 + i % 4)).save(path)
    command = [Path(sys.executable).parent / "vitscope", "embed", tmp_path / "in"]
    command = [*command, "--layer", "5", "--threads", "1", "--quiet", "--out"]
    started = time.monotonic()
    subprocess.run([*command, tmp_path / "whole.parquet"], check=True)
    whole = time.monotonic() - started
    chance, kills, partly = random.Random(0), 0, 0
    out = tmp_path / "cut.parquet"
    for _ in range(4):
        process = subprocess.Popen([*command, out])
        try:
            process.wait(whole * (0.2 + 0.6 * chance.random()))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            shards = len(list(out.with_suffix(".vectors").glob("shard-*")))
            partly += 0 < shards < 3 or not all(out.with_suffix(ending).exists() for ending in ENDINGS)
    subprocess.run([*command, out], check=True)
    assert kills > 0, "no kill fell into a run: the test tried nothing"
    assert partly > 0, "every kill came after the work: the test tried nothing"
    assert files(tmp_path, "cut") == files(tmp_path, "whole")


def files(folder, name):
    """Every file of one run and its bytes, by its name without the run's."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.relative_to(folder).parts[0].startswith((name, f".{name}"))]
    return {str(path.relative_to(folder)).replace(name, ""): path.read_bytes() for path in found}
