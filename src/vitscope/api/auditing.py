"""The audit of what a model was fed: the model's side of it, and the verb."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vitscope.errors import ArgumentError, VitscopeError

if TYPE_CHECKING:
    from vitscope.auditing.audit import Audit, Audited
    from vitscope.auditing.cut import Cut
    from vitscope.auditing.recipe import Own
    from vitscope.core.sample import Sample
    from vitscope.inputs.images import Source
    from vitscope.models.loaded import LoadedModel

#: A first convolution with a smaller step is a stem's, not the patches'.
STEM = 4


def audit(
    model: LoadedModel,
    photo: Source,
    tensor: Any = None,
    transform: Callable[[Any], Any] | None = None,
    box: tuple[float, float, float, float] | None = None,
    mask: Any = None,
) -> Audit:
    """What the model was really fed: every step from the file to the tensor, the patches, what was lost, and findings, worst first.

    Args:
        model: from :func:`vitscope.load`.
        photo: a path, PIL image, array or Sample.
        tensor: what your own code made of the photo, ``[3, h, w]`` or ``[1, 3, h, w]``: audited against the model's own preparation.
        transform: or the code itself, from a PIL image (as ``Image.open(path).convert("RGB")`` gives it, EXIF turn not applied)
            to such a tensor.
        box: an object, ``(x0, y0, x1, y1)`` in pixels of the photo as displayed, or as fractions of its width and height.
        mask: or its mask ``[H, W]``.

    Raises:
        ArgumentError: a tensor of another shape, a box or mask that does not fit the photo, or two of a kind.
        ModelError: nothing is known about the model's preprocessing.
    """
    from vitscope.auditing.audit import audit as run
    from vitscope.auditing.objects import object_mask
    from vitscope.inputs.images import read_sample
    from vitscope.inputs.stored import Stored, stored

    if tensor is not None and transform is not None:
        raise ArgumentError("a tensor and a transform", expected="one of them", where="audit")
    sample = read_sample(photo)
    file = stored(photo) if isinstance(photo, (str, Path)) else Stored()
    if transform is not None:
        tensor = transform(_as_loaded(sample))
    given = None if tensor is None else one_tensor(tensor)
    drawn = object_mask(sample.size, box, None if mask is None else np.asarray(mask) > 0)
    return run(audited(model), sample, file, tensor=given, mask=drawn)


def one_tensor(tensor: Any) -> NDArray[np.float32]:
    """A tensor or array as float32 ``[3, h, w]``.

    Raises:
        ArgumentError: another shape or type.
    """
    if hasattr(tensor, "pixel_values") or (isinstance(tensor, dict) and "pixel_values" in tensor):
        tensor = tensor["pixel_values"]
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().float().cpu().numpy()
    array = np.asarray(tensor[0] if isinstance(tensor, (list, tuple)) and len(tensor) == 1 else tensor)
    array = array[0] if array.ndim == 4 and len(array) == 1 else array
    if array.ndim != 3 or array.shape[0] != 3 or array.dtype.kind not in "fiu":
        todo = "channels come last here: transpose(2, 0, 1)" if array.ndim == 3 and array.shape[-1] == 3 else ""
        raise ArgumentError(f"a tensor {tuple(array.shape)} of {array.dtype}", expected="[3, h, w]", where="tensor", todo=todo)
    return np.asarray(array, dtype=np.float32)


def _as_loaded(sample: Sample) -> Any:
    """The photo as a loader that does not look at EXIF gets it, its tag still on it."""
    from PIL import Image

    from vitscope.auditing.recipe import UNDONE
    from vitscope.inputs.images import turned

    image = Image.fromarray(turned(sample.photo, UNDONE[sample.exif]))
    exif = Image.Exif()
    exif[0x0112] = sample.exif
    image.info["exif"] = exif.tobytes()
    return image


def audited(model: LoadedModel) -> Audited:
    """A loaded model as the audit needs it: nothing of torch, nothing of the module."""
    from vitscope.auditing.audit import Audited

    probed: dict[tuple[int, ...], tuple[Cut, float | None]] = {}

    def cut(tensor: NDArray[np.float32]) -> tuple[Cut, float | None]:
        if tensor.shape not in probed:
            probed[tensor.shape] = cut_of(model, tensor)
        return probed[tensor.shape]

    labels, answer = answering(model)
    return Audited(own_of(model), cut, answer, labels, provenance_of(model))


def own_of(model: LoadedModel) -> Own:
    """The model's own preparation; its mean and std measured on black and white where they are not known.

    Raises:
        ModelError: nothing is known about its preprocessing.
    """
    from vitscope.auditing.recipe import Own
    from vitscope.core.sample import Sample

    def prepare(photo: NDArray[np.uint8]) -> Any:
        pixels, placements = model.prepare([Sample(id="photo", pixels=photo[None])])
        return pixels[0].float().numpy(), placements[0]

    preparation = model.described.preparation
    if preparation is None or not preparation.mean or not preparation.std:
        size = model.described.input_size or (256, 256)
        black, white = (
            np.median(prepare(np.full((*size, 3), level, np.uint8))[0].reshape(3, -1), axis=1).astype(float) for level in (0, 255)
        )
        std = tuple(float(1 / max(w - b, 1e-9)) for b, w in zip(black, white, strict=True))
        mean = tuple(float(-b * s) for b, s in zip(black, std, strict=True))
    else:
        mean, std = tuple(preparation.mean), tuple(preparation.std)
    return Own(prepare, mean, std, preparation.text if preparation else "")


def cut_of(model: LoadedModel, tensor: NDArray[np.float32]) -> tuple[Cut, float | None]:
    """How the embedding cuts an input of this size, and how far the model's own embedding is from these patches.

    The convolution that is heard on the tensor itself says; where none cuts the picture, the measured token layout.
    """
    import torch

    from vitscope.auditing.cut import Cut, embedding_error

    found = model.embedding(torch.from_numpy(tensor)[None])
    size = (int(tensor.shape[1]), int(tensor.shape[2]))
    if found is not None and min(found.stride[-2:]) >= STEM:
        cut = Cut.of_embedding(found)
        return cut, embedding_error(found, cut)
    try:
        return Cut.of_layout(model.layout(size)), None
    except VitscopeError:
        if found is None:
            raise
        cut = Cut.of_embedding(found)
        return cut, embedding_error(found, cut)


def answering(model: LoadedModel) -> tuple[tuple[str, ...], Callable[[NDArray[np.float32]], NDArray[np.float64]] | None]:
    """Class names, and a function from prepared pixels to class scores; None for a model without any."""
    import torch

    from vitscope.models.checkpoint import plain_labels

    scores = model.answer(torch.zeros(1, 3, *(model.described.input_size or _prepared_size(model))))
    if scores is None:
        return (), None
    classes = int(scores.shape[-1])
    labels = tuple(model.described.labels) if len(model.described.labels) == classes else plain_labels(classes)

    def answer(pixels: NDArray[np.float32]) -> NDArray[np.float64]:
        found = model.answer(torch.from_numpy(np.ascontiguousarray(pixels)))
        assert found is not None
        return np.asarray(found.double().cpu().numpy())

    return labels, answer


def _prepared_size(model: LoadedModel) -> tuple[int, int]:
    """The size the model's own preparation leads to, of a model that states none.

    Raises:
        ModelError: nothing is known about its preprocessing.
    """
    from vitscope.core.sample import Sample

    ramp = np.add.outer(np.arange(256), np.arange(256)) // 2  # a preparation is refused whose result does not depend on the photo
    pixels, _ = model.prepare([Sample(id="ramp", pixels=np.repeat(ramp[None, :, :, None], 3, axis=3).astype(np.uint8))])
    return int(pixels.shape[-2]), int(pixels.shape[-1])


def provenance_of(model: LoadedModel) -> Any:
    """What made a result, where no pass was captured."""
    import importlib.metadata

    from vitscope.core.provenance import Provenance

    like = next(iter(model.module.parameters()), None)
    names: Sequence[str] = ("vitscope", "torch", *model.described.libraries)
    return Provenance(
        model=model.ref,
        weights=model.weights_fingerprint(),
        preprocessing=model.described.preparation.text if model.described.preparation else "",
        dtype=str(like.dtype).removeprefix("torch.") if like is not None else "",
        device=str(like.device) if like is not None else "",
        attention="not captured",
        seed=model.seed,
        versions={name: importlib.metadata.version(name) for name in names},
    )
