import subprocess
import sys

import pytest
import torch
from torch import nn

from inforeg_lightning.models import ConvEncoder, MLPEncoder


class TestConvEncoder:
    @pytest.mark.parametrize("pool", [False, True])
    def test_maps_to_its_last_width(self, pool):
        encoder = ConvEncoder(in_channels=2, widths=(8, 12), groups=4, pool=pool)
        assert encoder(torch.randn(3, 2, 17, 20)).shape == (3, encoder.out_features) == (3, 12)

    @pytest.mark.parametrize("pool", [False, True])
    def test_is_the_same_in_train_and_eval_and_for_each_sample_alone(self, pool):
        encoder, x = ConvEncoder(widths=(8, 16), pool=pool), torch.randn(4, 1, 12, 12)
        together = encoder.train()(x)
        torch.testing.assert_close(encoder.eval()(x), together, rtol=0, atol=0)
        torch.testing.assert_close(encoder(x[:1]), together[:1])

    def test_every_parameter_learns(self):
        encoder = ConvEncoder(widths=(8, 16))
        encoder(torch.randn(2, 1, 12, 12)).square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.parameters())

    def test_the_fast_pooling_is_that_of_pytorch_to_the_bit(self):
        torch.manual_seed(0)
        fast = next(m for m in ConvEncoder(pool=True).modules() if isinstance(m, nn.MaxPool2d))
        x = torch.randn(5, 8, 13, 12)
        x[:, :, :6] = x[:, :, :6].round()  # ties, of which a gradient goes to the first
        found = []
        for pool in (fast, nn.MaxPool2d(2)):
            leaf = x.clone().requires_grad_()
            out = pool(leaf)
            (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
            found.append((out, leaf.grad))
        assert type(fast) is not nn.MaxPool2d
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(*found, strict=True))
        assert found[0][0].is_contiguous()

    @pytest.mark.parametrize("widths", [(), (8, 10), (0,)])
    def test_refuses_widths_that_groups_do_not_divide(self, widths):
        with pytest.raises(ValueError, match="widths must be one or more multiples of groups=4"):
            ConvEncoder(widths=widths, groups=4)


class TestResNets:
    @pytest.fixture(autouse=True)
    def _need_torchvision(self):
        pytest.importorskip("torchvision")

    def test_audio_takes_one_channel(self):
        from inforeg_lightning.models import AudioResNet18

        encoder = AudioResNet18()
        assert encoder(torch.randn(2, 1, 65, 47)).shape == (2, encoder.out_features) == (2, 512)
        with pytest.raises(ValueError, match=r"\(B, 1, F, T\), got \(2, 3, 65, 47\)"):
            encoder(torch.randn(2, 3, 65, 47))

    def test_video_averages_the_frames_of_each_clip(self):
        from inforeg_lightning.models import VideoResNet18

        encoder = VideoResNet18().eval()
        clips = torch.randn(2, 3, 3, 32, 32)
        expected = torch.stack([encoder.trunk(clips[:, :, t]) for t in range(3)]).mean(dim=0)
        torch.testing.assert_close(encoder(clips), expected)
        assert expected.shape == (2, encoder.out_features) == (2, 512)
        with pytest.raises(ValueError, match=r"\(B, 3, T, H, W\), got \(2, 3, 32, 32\)"):
            encoder(clips[:, :, 0])

    def test_convolutions_are_kaiming_initialised(self):
        from inforeg_lightning.models import AudioResNet18

        convolutions = [m for m in AudioResNet18().modules() if isinstance(m, torch.nn.Conv2d)]
        assert convolutions[0].in_channels == 1
        for conv in convolutions:
            fan_out = conv.out_channels * conv.weight[0, 0].numel()
            assert conv.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)


def test_torchvision_is_asked_for_only_by_the_resnets():
    # In a process of its own: this one may have imported torchvision already.
    code = """
import sys
from inforeg_lightning.models import ConvEncoder, LateFusionClassifier
assert "inforeg_lightning.models.resnet" not in sys.modules
# Only now: torchmetrics, where it sees torchvision installed, imports it itself.
for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
    del sys.modules[name]
sys.modules["torchvision"] = None
try:
    from inforeg_lightning.models import AudioResNet18
except ModuleNotFoundError as error:
    assert "inforeg-lightning[models]" in str(error), error
else:
    raise SystemExit("imported")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class TestMLPEncoder:
    def test_maps_to_its_last_width_and_every_parameter_learns(self):
        encoder = MLPEncoder(5, (7, 3))
        features = encoder(torch.randn(4, 5))
        assert features.shape == (4, encoder.out_features) == (4, 3)
        assert (features >= 0).all()
        encoder(torch.randn(64, 5)).square().sum().backward()
        assert all(p.grad.abs().sum() > 0 for p in encoder.parameters())

    @pytest.mark.parametrize(("width", "widths"), [(5, ()), (0, (3,)), (5, (3, 0))])
    def test_refuses_widths_that_are_not_positive(self, width, widths):
        with pytest.raises(ValueError, match="widths must be positive"):
            MLPEncoder(width, widths)
