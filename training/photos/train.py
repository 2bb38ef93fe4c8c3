"""Train the built-in photo model: a small vision transformer, from scratch, on a CPU.

One command reads the CIFAR-10 photos, trains a ``ViTForImageClassification`` and
writes a Hugging Face model folder with a card that states the measured accuracy::

    python train.py --data DIR --out DIR --minutes 90 --seed 0 --threads 2

The run may be killed at any moment: the same command started again goes on from the
last checkpoint.  All randomness is a function of the seed and the step number, so a
run given a fixed number of steps ends with the same weights, interrupted or not.
"""

from __future__ import annotations

import argparse
import copy
import ctypes
import io
import json
import math
import os
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers import ViTConfig, ViTForImageClassification

SIDE = 32
PATCH = 4
CHECKPOINT = "checkpoint.pt"
WARM_UP = 0.03
EMA_DECAY = 0.998
HOLD_OUT_SEED = 20_000


@dataclass
class Photos:
    """Photos as bytes (N, 3, 32, 32) with their labels and the class names."""

    pixels: Tensor
    labels: Tensor
    names: list[str]


@dataclass
class Budget:
    """How long to train: a number of steps when given, otherwise minutes."""

    minutes: float
    steps: int | None

    def fraction(self, step: int, seconds: float) -> float:
        """Return the part of the budget that is used, 0 to 1 (1 means: stop)."""
        if self.steps is not None:
            return min(1.0, step / self.steps)
        return min(1.0, seconds / (60.0 * self.minutes))


# ---------------------------------------------------------------- data


def load_photos(path: Path, limit: int | None = None) -> Photos:
    """Decode the JPEG photos of one ``.npz`` file."""
    with np.load(path) as archive:
        blob, offsets = archive["jpeg"].tobytes(), archive["offsets"]
        labels = archive["labels"].astype(np.int64)[:limit]
        names = [str(name) for name in archive["names"]]
    pixels = np.empty((len(labels), SIDE, SIDE, 3), dtype=np.uint8)
    for i in range(len(labels)):
        with Image.open(io.BytesIO(blob[offsets[i] : offsets[i + 1]])) as image:
            pixels[i] = np.asarray(image.convert("RGB"))
    planes = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    return Photos(planes, torch.from_numpy(labels), names)


def split_photos(photos: Photos, held_out: int) -> tuple[Photos, Photos]:
    """Split off ``held_out`` photos, always the same ones, to choose weights with."""
    generator = torch.Generator().manual_seed(HOLD_OUT_SEED)
    order = torch.randperm(len(photos.labels), generator=generator)
    held, kept = order[:held_out], order[held_out:].sort().values
    return (
        Photos(photos.pixels[kept], photos.labels[kept], photos.names),
        Photos(photos.pixels[held], photos.labels[held], photos.names),
    )


def normalise(pixels: Tensor) -> Tensor:
    """Turn bytes 0..255 into floats -1..1, as ``preprocessor_config.json`` does."""
    return (pixels.to(torch.float32) / 255.0 - 0.5) / 0.5


def step_generator(seed: int, step: int, purpose: int) -> torch.Generator:
    """Return the random generator of one step; it needs no state of its own."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step * 17 + purpose)


def batch_indices(count: int, batch: int, seed: int, step: int) -> Tensor:
    """Return which photos step ``step`` uses: a new random order for every epoch."""
    per_epoch = max(1, count // batch)
    epoch, place = divmod(step, per_epoch)
    order = torch.randperm(count, generator=step_generator(seed, epoch, 1))
    return order[place * batch : (place + 1) * batch]


def uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Return ``count`` random numbers between ``low`` and ``high``."""
    return low + (high - low) * torch.rand(count, generator=generator)


def random_geometry(count: int, generator: torch.Generator) -> Tensor:
    """Return affine maps: mirror, shift by whole pixels, and zoom for half of them."""
    zoomed = torch.rand(count, generator=generator) < 0.5
    scale = uniform(count, 0.65, 1.1, generator)
    stretch = uniform(count, 0.9, 1.1, generator)
    shift = torch.randint(-4, 5, (2, count), generator=generator) * (2.0 / SIDE)
    mirror = 1.0 - 2.0 * torch.randint(0, 2, (count,), generator=generator)
    one = torch.ones(count)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = torch.where(zoomed, scale * stretch, one) * mirror
    theta[:, 1, 1] = torch.where(zoomed, scale / stretch, one)
    theta[:, 0, 2], theta[:, 1, 2] = shift[0], shift[1]
    return theta


def jitter_colours(images: Tensor, generator: torch.Generator) -> Tensor:
    """Change brightness, contrast and saturation a little, photo by photo."""
    count = len(images)
    bright, contrast, saturation = (uniform(count, -width, width, generator)[:, None, None, None] for width in (0.2, 0.25, 0.3))
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * (1.0 + saturation)
    middle = images.mean((1, 2, 3), keepdim=True)
    images = middle + (images - middle) * (1.0 + contrast) + bright
    return images.clamp(-1.0, 1.0)


def cut_out(images: Tensor, generator: torch.Generator, size: int = 8) -> Tensor:
    """Grey out one square in about half of the photos."""
    count = len(images)
    corner = torch.randint(-size, SIDE, (2, count, 1), generator=generator)
    place = torch.arange(SIDE)
    inside = (place >= corner) & (place < corner + size)
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    chosen = torch.rand(count, generator=generator) < 0.5
    return images.masked_fill(hole & chosen[:, None, None, None], 0.0)


def augment(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Return a randomly changed copy of a batch of photos, normalised."""
    images = normalise(pixels)
    theta = random_geometry(len(images), generator)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    images = functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    return cut_out(jitter_colours(images, generator), generator)


# ---------------------------------------------------------------- model


def build_config(names: list[str]) -> ViTConfig:
    """Return the configuration: 8x8 patches, 6 layers of 3 heads, width 192."""
    return ViTConfig(
        image_size=SIDE,
        patch_size=PATCH,
        encoder_stride=PATCH,
        hidden_size=192,
        num_hidden_layers=6,
        num_attention_heads=3,
        intermediate_size=768,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        id2label=dict(enumerate(names)),
        label2id={name: i for i, name in enumerate(names)},
        attn_implementation="eager",
    )


def build_model(photos: Photos, seed: int) -> ViTForImageClassification:
    """Return a new model with weights that are a good place to start from."""
    torch.manual_seed(seed)
    model = ViTForImageClassification(build_config(photos.names))
    with torch.no_grad():
        for layer in model.vit.layers:
            start_attention(layer.attention, model.config.num_attention_heads)
        embeddings = model.vit.embeddings
        embeddings.position_embeddings.copy_(sine_positions(model.config.hidden_size))
        start_patches(embeddings.patch_embeddings.projection, photos.pixels[:5000])
        model.classifier.weight.zero_()
    return model


def start_attention(attention: Any, heads: int) -> None:
    """Mimetic start (Trockman & Kolter 2023): attention that looks at itself first."""
    width = attention.q_proj.weight.shape[0]
    per_head = width // heads
    for head in range(heads):
        left, right = factors(width, 0.7, 0.7, per_head)
        rows = slice(head * per_head, (head + 1) * per_head)
        attention.q_proj.weight[rows] = left.T
        attention.k_proj.weight[rows] = right
    left, right = factors(width, 0.4, -0.4, width)
    attention.v_proj.weight.copy_(left.T)
    attention.o_proj.weight.copy_(right.T)


def factors(width: int, alpha: float, beta: float, rank: int) -> tuple[Tensor, Tensor]:
    """Return two matrices whose product is close to ``alpha * noise + beta * I``."""
    noise = torch.randn(width, width) / math.sqrt(width)
    u, s, v = torch.linalg.svd(alpha * noise + beta * torch.eye(width))
    root = s[:rank].sqrt()
    return u[:, :rank] * root, root[:, None] * v[:rank]


def sine_positions(width: int) -> Tensor:
    """Return two-dimensional sine and cosine positions; zero for the class token."""
    side = SIDE // PATCH
    rate = 1.0 / 100.0 ** (torch.arange(width // 4) / (width // 4))
    angle = torch.arange(side)[:, None] * rate
    wave = torch.cat([angle.sin(), angle.cos()], dim=1)
    rows = wave[:, None].expand(side, side, -1)
    columns = wave[None].expand(side, side, -1)
    grid = torch.cat([rows, columns], dim=2).reshape(1, side * side, width)
    return torch.cat([torch.zeros(1, 1, width), 0.5 * grid], dim=1)


def start_patches(projection: torch.nn.Conv2d, pixels: Tensor) -> None:
    """Start the patch filters as random mixtures of whitened patches."""
    patches = functional.unfold(normalise(pixels), PATCH, stride=PATCH).transpose(1, 2)
    patches = patches.reshape(-1, patches.shape[2])
    values, vectors = torch.linalg.eigh(torch.cov(patches.T))
    whiten = vectors / (values.clamp(min=0.0) + 0.01).sqrt()
    mix = torch.randn(projection.out_channels, len(values)) / math.sqrt(len(values))
    projection.weight.copy_((mix @ whiten.T).view_as(projection.weight))
    assert projection.bias is not None
    projection.bias.copy_(-(mix @ whiten.T) @ patches.mean(0))


# ---------------------------------------------------------------- training


class Trainer:
    """Weights, optimisers and their progress; knows how to save and load itself."""

    def __init__(self, args: argparse.Namespace, photos: Photos) -> None:
        self.args, self.photos = args, photos
        self.budget = Budget(args.minutes, args.steps)
        self.model = build_model(photos, args.seed)
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        dtype = torch.bfloat16 if args.precision == "bf16" else torch.float32
        self.worker = copy.deepcopy(self.model).to(dtype)
        self.optimisers = make_optimisers(self.model, args)
        self.step, self.seconds = 0, 0.0

    def fraction(self) -> float:
        """Return the part of the budget that is used."""
        return self.budget.fraction(self.step, self.seconds)

    def train_step(self) -> float:
        """Train on one batch and return its loss."""
        indices = batch_indices(len(self.photos.labels), self.args.batch, self.args.seed, self.step)
        generator = step_generator(self.args.seed, self.step, 2)
        images = augment(self.photos.pixels[indices], generator)
        loss = self._gradients(images, self.photos.labels[indices])
        factor = rate_factor(self.fraction())
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = group["peak"] * factor
            optimiser.step()
        self.step += 1
        self._update_average()
        return loss

    def _gradients(self, images: Tensor, labels: Tensor) -> float:
        """Run the low-precision copy and hand its gradients to the real weights."""
        slow, fast = list(self.model.parameters()), list(self.worker.parameters())
        with torch.no_grad():
            torch._foreach_copy_(fast, slow)
        self.worker.zero_grad(set_to_none=True)
        logits = self.worker(pixel_values=images.to(fast[0].dtype)).logits.float()
        loss = functional.cross_entropy(logits, labels, label_smoothing=0.1)
        loss.backward()  # type: ignore[no-untyped-call]
        for real, copied in zip(slow, fast, strict=True):
            assert copied.grad is not None
            real.grad = copied.grad.float()
        return float(loss.detach())

    def _update_average(self) -> None:
        """Move the averaged weights towards the present ones."""
        decay = min(EMA_DECAY, self.step / (self.step + 9.0))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.average.parameters()),
                list(self.model.parameters()),
                1.0 - decay,
            )

    def save(self, path: Path) -> None:
        """Write a checkpoint that is either complete or not there at all."""
        state = {
            "recipe": recipe(self.args),
            "step": self.step,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
        }
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint of the same recipe."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["recipe"] != recipe(self.args):
            raise SystemExit(f"{path} belongs to another recipe ({state['recipe']}); choose another --out or delete it")
        self.step, self.seconds = state["step"], state["seconds"]
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)


def recipe(args: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that a resumed run must share with the run it resumes."""
    keys = ("steps", "seed", "batch", "precision", "limit_photos", "lr", "muon_lr")
    return {key: getattr(args, key) for key in keys}


def make_optimisers(model: ViTForImageClassification, args: argparse.Namespace) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices of the layers and AdamW for all other weights."""
    matrices, arrays, vectors = [], [], []
    for name, weight in model.named_parameters():
        if ".layers." in name and weight.ndim == 2:
            matrices.append(weight)
        elif weight.ndim == 1 or "position" in name or "cls_token" in name:
            vectors.append(weight)
        else:
            arrays.append(weight)
    muon = torch.optim.Muon(
        [{"params": matrices, "peak": args.muon_lr}],
        lr=args.muon_lr,
        weight_decay=0.05,
        adjust_lr_fn="match_rms_adamw",
    )
    adam = torch.optim.AdamW(
        [
            {"params": arrays, "peak": args.lr, "weight_decay": 0.05},
            {"params": vectors, "peak": args.lr, "weight_decay": 0.0},
        ],
        lr=args.lr,
        betas=(0.9, 0.98),
    )
    return [muon, adam]


def rate_factor(fraction: float) -> float:
    """Return the learning rate at a point of the budget: warm up, then cosine to 0."""
    if fraction < WARM_UP:
        return 0.02 + 0.98 * fraction / WARM_UP
    return 0.5 + 0.5 * math.cos(math.pi * (fraction - WARM_UP) / (1.0 - WARM_UP))


def train(trainer: Trainer, held: Photos, checkpoint: Path) -> None:
    """Train until the budget is used, with a checkpoint now and then."""
    args = trainer.args
    now = saved = told = time.monotonic()
    checked = trainer.seconds
    losses: list[float] = []
    while trainer.fraction() < 1.0:
        losses.append(trainer.train_step())
        now, before = time.monotonic(), now
        trainer.seconds += now - before
        if now - told >= args.report_every:
            report(trainer, losses, now - told)
            told, losses = now, []
        if trainer.seconds - checked >= args.check_every:
            checked = trainer.seconds
            say(f"held-out accuracy {accuracy(trainer.average, held):.4f} (averaged)")
        if now - saved >= args.save_every:
            trainer.save(checkpoint)
            saved = time.monotonic()
    trainer.save(checkpoint)


def report(trainer: Trainer, losses: list[float], seconds: float) -> None:
    """Print one line of progress."""
    seen = trainer.step * trainer.args.batch
    say(
        f"step {trainer.step} | {100 * trainer.fraction():.1f} % | "
        f"epoch {seen / len(trainer.photos.labels):.2f} | "
        f"loss {np.mean(losses):.4f} | "
        f"{len(losses) * trainer.args.batch / seconds:.0f} photos/s"
    )


def say(text: str) -> None:
    """Print a line with the time, at once."""
    print(time.strftime("%H:%M:%S"), text, flush=True)


# ---------------------------------------------------------------- result


@torch.no_grad()
def predict(model: ViTForImageClassification, photos: Photos) -> Tensor:
    """Return the predicted class of every photo."""
    found = [model(pixel_values=normalise(part)).logits.argmax(1) for part in torch.split(photos.pixels, 250)]
    return torch.cat(found)


def accuracy(model: ViTForImageClassification, photos: Photos) -> float:
    """Return the share of photos whose class is predicted correctly."""
    return float((predict(model, photos) == photos.labels).float().mean())


def choose(trainer: Trainer, held: Photos) -> tuple[ViTForImageClassification, str]:
    """Return the better of the last and the averaged weights, on held-out photos."""
    averaged = accuracy(trainer.average, held)
    last = accuracy(trainer.model, held)
    say(f"held-out accuracy: averaged {averaged:.4f}, last {last:.4f}")
    if averaged >= last:
        return trainer.average, "averaged"
    return trainer.model, "last"


def processor_config() -> dict[str, Any]:
    """Return what the image processor has to do: shortest edge 32, centre crop."""
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": SIDE},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": SIDE, "width": SIDE},
        "do_rescale": True,
        "rescale_factor": 1.0 / 255.0,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }


def write_text(path: Path, text: str) -> None:
    """Write a text file in one piece."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def export(trainer: Trainer, held: Photos, test: Photos, folder: Path) -> None:
    """Measure the chosen weights and write the Hugging Face model folder."""
    model, which = choose(trainer, held)
    correct = predict(model, test) == test.labels
    say(f"test accuracy {float(correct.float().mean()):.4f} on {len(correct)} photos")
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    write_text(
        folder / "preprocessor_config.json",
        json.dumps(processor_config(), indent=2) + "\n",
    )
    write_text(folder / "MODEL_CARD.md", model_card(trainer, which, correct, test))


def class_table(correct: Tensor, test: Photos) -> str:
    """Return the accuracy of every class as the rows of a Markdown table."""
    rows = []
    for label, name in enumerate(test.names):
        mine = correct[test.labels == label].float()
        share = 100 * float(mine.mean()) if len(mine) else float("nan")
        rows.append(f"| {name} | {share:.1f} % |")
    return "\n".join(rows)


def processor_name() -> str:
    """Return the name of the processor, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor() or platform.machine()


def model_card(trainer: Trainer, which: str, correct: Tensor, test: Photos) -> str:
    """Return the model card with everything that was measured."""
    args, labels = trainer.args, len(trainer.photos.labels)
    seen = trainer.step * args.batch
    finished = "" if trainer.fraction() >= 1.0 else SNAPSHOT_NOTE
    weights = sum(weight.numel() for weight in trainer.model.parameters())
    extent = f"--minutes {args.minutes:g}"
    if args.steps is not None:
        extent = f"--steps {args.steps}"
    return CARD.format(
        finished=finished,
        accuracy=f"{100 * float(correct.float().mean()):.2f}",
        tested=len(correct),
        classes=class_table(correct, test),
        names=", ".join(test.names),
        weights=f"{weights / 1e6:.2f}",
        which=which,
        trained=labels,
        held=args.hold_out,
        steps=trainer.step,
        batch=args.batch,
        epochs=f"{seen / max(1, labels):.1f}",
        minutes=f"{trainer.seconds / 60:.1f}",
        machine=f"{processor_name()}, {args.threads} threads, no GPU",
        versions=f"Python {platform.python_version()}, PyTorch {torch.__version__}",
        seed=args.seed,
        command=f"python training/photos/train.py --data DIR --out DIR {extent} --seed {args.seed} --threads {args.threads}",
    )


SNAPSHOT_NOTE = """
> **Snapshot of an unfinished run.** Do not publish.
"""

CARD = """# builtin:photos
{finished}
A small vision transformer (ViT) for ten kinds of photographs, trained from scratch so
that explanations can be tried out with nothing to download.

- Architecture: `ViTForImageClassification`, 32 x 32 pixels, patches of 4 x 4 pixels
  (8 x 8 patches and a class token), 6 layers, 3 heads, width 192,
  {weights} million weights.
- Classes: {names}.

## Measured accuracy

Test accuracy: **{accuracy} %** on the {tested} test photos of CIFAR-10, which were used
for nothing else: neither for training nor for choosing the weights.

| class | accuracy |
|---|---|
{classes}

## Training

- Data: {trained} of the 50,000 training photos of CIFAR-10 (Krizhevsky 2009);
  {held} more were held out, to choose between the last and the averaged weights
  (chosen: {which}).
- {steps} steps of {batch} photos ({epochs} passes over the training photos) in
  {minutes} minutes.
- Machine: {machine}. {versions}.
- Seed: {seed}.
- Command: `{command}`
- Optimisers: Muon for the matrices of the layers, AdamW for all other weights; cosine
  schedule; mimetic start of the attention; label smoothing 0.1; random mirror, shift,
  zoom, colour and cut-out.

## Input

The image processor scales the shorter edge to 32 pixels, takes the 32 x 32 pixels in
the centre, and maps pixel values from 0..255 to -1..1.

## Limits

- It sees 32 x 32 pixels: small or fine things in a photograph are not visible to it,
  and whatever the centre crop removes is not seen at all.
- It knows ten classes and always names one of them, also for a picture that shows
  none of them; a high probability is no proof that the thing is there.
- It has learnt from small pictures that show one thing, mostly whole and in the
  middle. Close-ups, several things, drawings, and medical or industrial pictures are
  outside of what it can judge.
- It is made for demonstrations and tests of explanation methods, not for decisions.

## Licence

The weights are offered under Apache-2.0. The CIFAR-10 photos are not part of this
folder and are not distributed with it.
"""


# ---------------------------------------------------------------- command line


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder of train.npz and test.npz")
    add("--out", type=Path, required=True, help="folder for checkpoint and model")
    add("--minutes", type=float, default=90.0, help="time to train, resumes included")
    add("--steps", type=int, help="train this many steps instead of --minutes")
    add("--seed", type=int, default=0)
    add("--threads", type=int, default=os.cpu_count() or 1)
    add("--batch", type=int, default=192, help="photos per step")
    add("--lr", type=float, default=1.5e-3, help="peak rate of AdamW")
    add("--muon-lr", type=float, default=5e-3, help="peak rate of Muon")
    add("--precision", choices=("bf16", "fp32"), default="bf16")
    add("--hold-out", type=int, default=2000, help="photos kept to choose weights")
    add("--limit-photos", type=int, help="use only the first photos (for tests)")
    add("--save-every", type=float, default=60.0, help="seconds between checkpoints")
    add("--check-every", type=float, default=600.0, help="seconds between checks")
    add("--report-every", type=float, default=20.0, help="seconds between lines")
    add("--snapshot", type=Path, help="only export the checkpoint to this folder")
    return parser.parse_args(arguments)


def keep_memory() -> None:
    """Tell the C library to keep freed memory: a third faster on Linux."""
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    trim_threshold, top_pad, mmap_max = -1, -2, -4
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(top_pad, 2**26)


def main(arguments: list[str] | None = None) -> None:
    """Train, or go on training, and write the model folder ``<out>/model``."""
    args = parse(arguments)
    keep_memory()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    everything = load_photos(args.data / "train.npz", args.limit_photos)
    args.hold_out = min(args.hold_out, len(everything.labels) // 10)
    args.batch = min(args.batch, len(everything.labels) - args.hold_out)
    photos, held = split_photos(everything, args.hold_out)
    trainer = Trainer(args, photos)
    checkpoint = args.out / CHECKPOINT
    if checkpoint.exists():
        trainer.load(checkpoint)
        say(f"going on from step {trainer.step}, {trainer.seconds:.0f} s")
    if args.snapshot is None:
        train(trainer, held, checkpoint)
    test = load_photos(args.data / "test.npz", args.limit_photos)
    target = args.snapshot or args.out / "model"
    export(trainer, held, test, target)
    say(f"wrote {target}")


if __name__ == "__main__":
    main()
