"""Killed at any moment, a run leaves either no file or a whole one under the name it was asked for."""

import random
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support import photos


@pytest.mark.long
def test_sigkill_at_random_times_never_leaves_half_a_file(tmp_path):
    paths = []
    for seed in range(12):
        paths.append(tmp_path / f"photo-{seed}.png")
        Image.fromarray(photos.scene(600, 800, seed)).save(paths[-1])
    command = [
        Path(sys.executable).parent / "vitscope",
        "explain",
        *paths,
        "--method",
        "rollout",
        "--method",
        "relevance",
        "--quiet",
        "--out",
    ]
    started = time.monotonic()
    subprocess.run([*command, tmp_path / "whole"], check=True)
    whole = time.monotonic() - started
    chance, killed_while_writing = random.Random(0), 0
    for run in range(12):
        out = tmp_path / f"run-{run}"
        process = subprocess.Popen([*command, out])
        time.sleep(whole * (0.55 + 0.45 * chance.random()))
        process.send_signal(signal.SIGKILL)
        process.wait()
        files = list(out.glob("[!.]*")) if out.exists() else []
        waiting = list(out.glob(".vitscope-*/new/*"))  # written, but not yet under their final names
        killed_while_writing += bool(waiting) or 0 < len(files) < 37
        for file in files:
            if file.suffix == ".npz":
                assert np.load(file)["grid"].shape == (8, 8)
                assert zipfile.ZipFile(file).testzip() is None
            elif file.suffix == ".html":
                assert file.read_text().rstrip().endswith("</html>")
            else:
                Image.open(file).load()
    assert killed_while_writing > 0, "no kill fell into the writing: the test tried nothing"
