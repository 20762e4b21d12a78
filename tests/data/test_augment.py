import numpy as np
import pytest
import torch

pytest.importorskip("torchvision")
pytest.importorskip("scipy")

from scipy import stats
from torchvision.transforms import v2

from inforeg_lightning.data.loading import augment
from inforeg_lightning.data.loading.augment import (
    DRAWS_A_CROP,
    IMAGENET_MEAN,
    IMAGENET_STD,
    crop_and_normalise,
    random_crops,
    uniforms,
    whole_frames,
)

SIZES = [(192, 256), (256, 192), (90, 400), (400, 90), (40, 41)]


def crops(size, count, seed=0):
    draws = uniforms(seed, 0, np.arange(count), DRAWS_A_CROP)
    return random_crops(np.tile(size, (count, 1)), draws)


class TestUniforms:
    def test_they_are_uniform_and_uncorrelated(self):
        draws = uniforms(0, 0, np.arange(20_000), 8)
        assert 0 <= draws.min() < 1e-4
        assert 1 - 1e-4 < draws.max() < 1
        for column in draws.T:
            assert stats.kstest(column, "uniform").pvalue > 1e-3
        neighbours = np.corrcoef(np.concatenate([draws, np.roll(draws, 1, axis=0)], axis=1).T)
        assert np.abs(neighbours - np.eye(16)).max() < 0.03

    def test_they_depend_on_seed_epoch_and_sample(self):
        samples = np.arange(5)
        base = uniforms(3, 4, samples, 2)
        assert np.array_equal(uniforms(3, 4, samples[::-1], 2), base[::-1])
        assert np.array_equal(uniforms(3, 4, samples, 7)[:, :2], base)
        for other in (uniforms(4, 4, samples, 2), uniforms(3, 5, samples, 2)):
            assert not (other == base).any()
        # Seed and epoch are no sum: run 1 does not begin with the second epoch of run 0.
        assert not (uniforms(4, 3, samples, 2) == base).any()


class TestRandomCrops:
    @pytest.mark.parametrize("size", SIZES)
    def test_they_have_the_distribution_of_the_transform_of_one_image(self, size):
        count = 3000
        boxes, mirrored = crops(size, count)
        torch.manual_seed(0)
        transform = v2.RandomResizedCrop(224)
        image = torch.empty(3, *size)
        theirs = [transform.make_params([image]) for _ in range(count)]
        theirs = np.array([[p[key] for key in ("top", "left", "height", "width")] for p in theirs])
        for ours_of, theirs_of in zip(_aspects(boxes), _aspects(theirs), strict=True):
            assert stats.ks_2samp(ours_of, theirs_of).pvalue > 1e-3
        assert stats.binomtest(int(mirrored.sum()), count).pvalue > 1e-3

    def test_the_test_of_distributions_would_notice_another(self):
        boxes, _ = crops((192, 256), 3000)
        draws = uniforms(1, 0, np.arange(3000), DRAWS_A_CROP)
        other, _ = random_crops(np.tile((192, 256), (3000, 1)), draws, scale=(0.2, 1.0))
        pvalues = [
            stats.ks_2samp(one, two).pvalue
            for one, two in zip(_aspects(boxes), _aspects(other), strict=True)
        ]
        assert min(pvalues) < 1e-6

    @pytest.mark.parametrize("size", [*SIZES, (1, 1), (1, 500)])
    def test_they_lie_within_the_frame(self, size):
        boxes, _ = crops(size, 500)
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] >= 1).all()
        assert (boxes[:, :2] + boxes[:, 2:] <= size).all()

    def test_frames_of_one_clip_are_cropped_apart(self):
        boxes, _ = crops((192, 256), 192)
        assert len(np.unique(boxes, axis=0)) == 192


def _aspects(boxes):
    top, left, height, width = boxes.T.astype(float)
    return top, left, height, width, height * width, width / height


def frames_of(count, height=48, width=64):
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(count, 3, 6, 8, generator=generator)
    smooth = torch.nn.functional.interpolate(small, (height, width), mode="bicubic").clamp(0, 1)
    return (smooth * 255).byte().permute(0, 2, 3, 1).contiguous()


class TestPixels:
    @pytest.mark.parametrize("path", ["one by one", "by products"])
    @pytest.mark.parametrize("of", ["bytes", "floats"])
    def test_they_are_those_of_torchvision(self, path, of):
        frames = frames_of(12)
        boxes, mirrored = map(torch.from_numpy, crops((48, 64), 12))
        resize = {
            "one by one": augment._resize_one_by_one,
            "by products": augment._resize_by_products,
        }[path]
        levels = resize(frames, boxes, mirrored, 32)
        for i, (top, left, height, width) in enumerate(boxes.tolist()):
            image = frames[i].permute(2, 0, 1)
            image = image.float() if of == "floats" else image
            theirs = v2.functional.resized_crop(image, top, left, height, width, [32, 32])
            theirs = v2.functional.horizontal_flip(theirs) if mirrored[i] else theirs
            # torch's kernel for bytes rounds twice, once for each direction.
            twice = (path == "one by one") != (of == "bytes")
            assert (levels[i] - theirs.round()).abs().max() <= 1
            assert (levels[i] - theirs.round()).abs().float().mean() < (0.35 if twice else 1e-3)

    def test_evaluation_resizes_the_whole_frame_and_normalises_it(self):
        frames = frames_of(2)
        boxes, mirrored = map(torch.from_numpy, whole_frames(np.array([[48, 64]] * 2)))
        ours = crop_and_normalise(frames, boxes, mirrored, 32)
        chain = v2.Compose(
            [
                v2.Resize((32, 32)),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
            ]
        )
        theirs = chain(frames.permute(0, 3, 1, 2))
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, atol=0.02, rtol=0)

    def test_what_pads_a_smaller_frame_is_never_seen(self):
        frames = frames_of(4)
        padded = torch.full((4, 60, 90, 3), 255, dtype=torch.uint8)
        padded[:, :48, :64] = frames
        boxes, mirrored = map(torch.from_numpy, crops((48, 64), 4))
        for resize in (augment._resize_one_by_one, augment._resize_by_products):
            assert torch.equal(
                resize(frames, boxes, mirrored, 32), resize(padded, boxes, mirrored, 32)
            )
