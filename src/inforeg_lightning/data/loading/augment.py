"""Crop, flip and normalise whole batches of frames, each frame by its own random parameters.

What ``torchvision.transforms.v2.RandomResizedCrop`` and ``RandomHorizontalFlip`` do to one image,
in two steps: parameters are drawn where the data are loaded (a few numbers per frame), pixels are
made where the frames are, on the device if they are there. The published loaders draw another
crop for each frame of a clip; one crop for a batch would be another augmentation.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_ATTEMPTS = 10  # torchvision's: then the largest allowed crop in the middle


def uniforms(seed: int, epoch: int, samples: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Draw numbers that depend on the seed, the epoch and the sample, and on nothing else.

    A generator would tie them to the batch, to the worker process and to what was drawn before;
    these are the same with any number of workers or ranks and after resuming.

    Args:
        seed: Any integer.
        epoch: Any integer.
        samples: Numbers of the samples, ``(N,)``.
        count: How many numbers each needs.

    Returns:
        ``(N, count)``, uniform in [0, 1).
    """
    key: NDArray[np.uint64] = np.array([seed, epoch], np.int64).view(np.uint64)
    state = _mixed(np.add(_mixed(key[:1]), key[1:]))
    state = _mixed(np.add(state, samples.astype(np.int64).view(np.uint64)))
    bits = _mixed(np.add(state[:, None], np.arange(1, count + 1, dtype=np.uint64)))
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The SplitMix64 generator's step and finaliser (Steele, Lea and Flood, 2014)."""
    values = values * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


DRAWS_A_CROP = 2 * _ATTEMPTS + 3
"""Numbers that ``random_crops`` uses for one frame."""


def random_crops(
    sizes: NDArray[np.int64],
    draws: NDArray[np.float64],
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Draw where to crop each frame and whether to mirror it.

    Args:
        sizes: Height and width of each frame, ``(N, 2)``.
        draws: Uniform numbers, ``(N, DRAWS_A_CROP)``.
        scale: Least and greatest share of the area.
        ratio: Least and greatest ratio of width to height.

    Returns:
        Boxes ``(N, 4)``: top, left, height and width in pixels; and ``(N,)``, mirrored or not.
    """
    tries = draws[:, : 2 * _ATTEMPTS].reshape(len(sizes), _ATTEMPTS, 2)
    area = sizes.prod(axis=1)[:, None] * (scale[0] + (scale[1] - scale[0]) * tries[..., 0])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = np.exp(low + (high - low) * tries[..., 1])
    # (N, attempts, 2); as many rows as attempts, of which the first that fits counts.
    shape = np.rint(np.sqrt(np.stack([area / aspect, area * aspect], axis=2))).astype(np.int64)
    fits = ((shape > 0) & (shape <= sizes[:, None])).all(axis=2)
    chosen = shape[np.arange(len(sizes)), fits.argmax(axis=1)]
    room = sizes - chosen + 1
    corner = np.floor(draws[:, -3:-1] * room).astype(np.int64)
    none = ~fits.any(axis=1)
    chosen[none] = _largest(sizes[none], ratio)
    corner[none] = (sizes[none] - chosen[none]) // 2
    return np.concatenate([corner, chosen], axis=1), draws[:, -1] < 0.5


def _largest(sizes: NDArray[np.int64], ratio: tuple[float, float]) -> NDArray[np.int64]:
    height, width = sizes[:, 0], sizes[:, 1]
    narrow, wide = width / height < ratio[0], width / height > ratio[1]
    return np.stack(
        [
            np.where(narrow, np.rint(width / ratio[0]), height).astype(np.int64),
            np.where(wide, np.rint(height * ratio[1]), width).astype(np.int64),
        ],
        axis=1,
    )


def whole_frames(sizes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return boxes that leave nothing out, and mirror nothing, for evaluation."""
    return np.concatenate([np.zeros_like(sizes), sizes], axis=1), np.zeros(len(sizes), bool)


def crop_and_normalise(
    frames: Tensor,
    boxes: Tensor,
    mirrored: Tensor,
    size: int = 224,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    into: Tensor | None = None,
) -> Tensor:
    """Cut each frame to its box, resize it, mirror it and normalise it.

    Resizing is bilinear with antialiasing, as torchvision's. On the CPU it is done frame by frame
    by torch's kernel for bytes; elsewhere it is two batched matrix products, with no loop and no
    transfer. Both round to whole grey levels and differ by one at most.

    Args:
        frames: uint8 ``(N, H, W, 3)``.
        boxes: ``(N, 4)``: top, left, height, width.
        mirrored: bool ``(N,)``.
        size: Height and width of the result.
        mean: Of each channel, of values in [0, 1].
        std: Standard deviation of each channel.
        into: Memory for the result, used on the CPU only; by default new.

    Returns:
        float32 ``(N, 3, size, size)``.
    """
    if frames.device.type == "cpu":
        levels = _resize_one_by_one(frames, boxes, mirrored, size, into)
    else:
        levels = _resize_by_products(frames, boxes, mirrored, size)
    # One multiply and one add, in place: x / 255 / std − mean / std.
    factor = torch.tensor([1 / (255 * s) for s in std], device=frames.device)
    offset = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=frames.device)
    return levels.mul_(factor.view(3, 1, 1)).add_(offset.view(3, 1, 1))


def _resize_one_by_one(
    frames: Tensor, boxes: Tensor, mirrored: Tensor, size: int, into: Tensor | None = None
) -> Tensor:
    levels = torch.empty(len(frames), 3, size, size) if into is None else into
    # A batch of one by unsqueeze, whose strides tell torch that the channels are last.
    places = zip(frames.unsqueeze(1), boxes.tolist(), mirrored.tolist(), levels, strict=True)
    for frame, (top, left, height, width), mirror, place in places:
        crop = frame[:, top : top + height, left : left + width].permute(0, 3, 1, 2)
        resized = F.interpolate(crop, (size, size), mode="bilinear", antialias=True)
        place.copy_((resized.flip(3) if mirror else resized)[0])
    return levels


def _resize_by_products(frames: Tensor, boxes: Tensor, mirrored: Tensor, size: int) -> Tensor:
    height, width = frames.shape[1:3]
    rows = _resize_weights(boxes[:, 0], boxes[:, 2], height, size)
    columns = _resize_weights(boxes[:, 1], boxes[:, 3], width, size)
    columns = torch.where(mirrored[:, None, None], columns.flip(1), columns)
    pixels = frames.permute(0, 3, 1, 2).float()
    # (N, 1, size, H) @ (N, 3, H, W) @ (N, 1, W, size)
    return (rows[:, None] @ pixels @ columns[:, None].transpose(2, 3)).round_()


def _resize_weights(start: Tensor, length: Tensor, full: int, size: int) -> Tensor:
    """Weight of each input pixel for each output pixel, ``(N, size, full)``.

    A triangle around the output pixel's centre, as wide as the stretch of input that it stands for
    (at least two pixels), cut at the box's edges and of unit sum.
    """
    scale = (length / size).view(-1, 1, 1)
    start, length = start.view(-1, 1, 1), length.view(-1, 1, 1)
    out = torch.arange(size, device=start.device).view(1, -1, 1)
    pixel = torch.arange(full, device=start.device).view(1, 1, -1) - start
    distance = (pixel + 0.5 - (out + 0.5) * scale).abs() / scale.clamp(min=1)
    weights = (1 - distance).clamp(min=0) * ((pixel >= 0) & (pixel < length))
    return weights / weights.sum(dim=2, keepdim=True)
