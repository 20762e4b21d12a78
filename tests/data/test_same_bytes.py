"""What is drawn at random for data sets and training stays what it was, in every release.

Published numbers rest on these splits and samples. The digests are of whole numbers and of draws
of NumPy's and torch's generators, which are the same on all machines; floating-point results
(spectrograms, resized frames) may differ by a rounding from one library to the next and are
compared elsewhere.
"""

import hashlib
from fractions import Fraction

import av
import numpy as np
import torch

from inforeg_lightning.data import av_digits, av_mnist
from inforeg_lightning.data.loading.augment import DRAWS_A_CROP, random_crops, uniforms
from inforeg_lightning.data.loading.dataset import any_frames, segment_frames
from inforeg_lightning.data.loading.in_memory import SPLITS, SeededShuffle
from inforeg_lightning.data.loading.splits import group_split, hold_out
from inforeg_lightning.data.prepare.decode import read_frames


def digest(thing):
    if isinstance(thing, np.ndarray):
        thing = (str(thing.dtype), thing.shape, thing.tolist())
    return hashlib.sha256(repr(thing).encode()).hexdigest()[:16]


def test_av_digits_is_made_of_the_same_samples():
    assert digest(av_digits.plan(av_digits.AVDigitsRecipe(), 0)) == "fc3a1252d3897104"


def test_av_mnist_is_made_of_the_same_samples():
    labels = {"train": np.arange(6000) % 10, "test": np.arange(2000) % 10}
    assert digest(av_mnist.plan(av_mnist.AVMNISTRecipe(), 0, labels)) == "3d01d5900cd24089"


def test_the_same_clips_are_in_each_split():
    labels = np.arange(900) * 7 % 6
    groups = (np.arange(900) // 10).astype(str)
    rows = group_split(labels, groups, seed=3).rows
    assert digest([rows[split].tolist() for split in SPLITS]) == "9f5bd071da59a058"
    kept, held_out = hold_out(np.arange(800), labels, 0.1, 3)
    assert digest((kept.tolist(), held_out.tolist())) == "88882c5f0205a827"


def test_the_same_order_frames_and_crops():
    shuffle = SeededShuffle(torch.arange(500), 5)
    shuffle.set_epoch(2)
    assert digest(list(shuffle)) == "6677c63733fa4fda"
    draws = uniforms(5, 2, np.arange(300), 3 + DRAWS_A_CROP)
    chosen = [(any_frames(9, draw[:3]), segment_frames(10, draw[:3])) for draw in draws]
    assert digest(chosen) == "28c901c280726c65"
    boxes, mirrored = random_crops(np.array([[256, 341]] * 300), draws[:, 3:])
    assert digest((boxes.tolist(), mirrored.tolist())) == "58010e20ee8ed163"


def test_the_same_frames_of_a_video(tmp_path):
    # Lossless, in RGB: no codec rounds.
    pixels = np.random.default_rng(0).integers(256, size=(20, 24, 32, 3), dtype=np.uint8)
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream = container.add_stream("rawvideo", rate=Fraction(10))
        stream.height, stream.width, stream.pix_fmt = 24, 32, "bgr24"
        for frame in pixels:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    frames = read_frames(tmp_path / "a.avi", 3, 256)
    np.testing.assert_array_equal(frames, pixels[[0, 3, 7, 10, 13, 17]])
