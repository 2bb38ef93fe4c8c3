"""A small folder of photos and its file of points, made by the program itself."""

import io
from itertools import pairwise

import numpy as np
from PIL import Image

CLASSES = {"frog": (40, 160, 60), "ship": (60, 90, 200), "truck": (190, 120, 60)}
EACH = 9


def folder_of_photos(root, each=EACH, seed=0):
    """Three classes of coloured noise, as PNG of 48×40 px."""
    rng = np.random.default_rng(seed)
    for name, colour in CLASSES.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(each):
            noisy = np.clip(rng.normal(colour, 40, (40, 48, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(root / name / f"{i}.png")
    return root


def embedded(folder, out, *more):
    """The file of points of a folder; two layers, PCA."""
    from vitscope.cli import main

    main(["embed", str(folder), "--out", str(out), "--threads", "1", "--quiet", *map(str, more)])
    return out


def jpegs(block, name="thumbs"):
    """The JPEG files of a block, opened; None for an empty one."""
    data, offsets = block.arrays[name].tobytes(), block.arrays[f"{name}/offsets"]
    files = [data[a:b] for a, b in pairwise(offsets)]
    return [Image.open(io.BytesIO(file)) if file else None for file in files]
