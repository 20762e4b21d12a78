"""Encoders from torchvision and timm: random weights, saved and loaded as by a user."""

from pathlib import Path

import pytest
import timm
import torch
import torchvision

from inforeg_lightning.models import TimmEncoder, TorchvisionEncoder


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder as it lies in a repository, and a file of the same weights."""
    root = tmp_path_factory.mktemp("timm")
    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=5)
    timm.models.save_for_hf(model, root / "folder", safe_serialization=True)
    torch.save(model.state_dict(), root / "weights.pth")
    return root, model.eval()


class TestTimm:
    def test_folder_and_file_are_the_model_without_its_classifier(self, saved):
        root, model = saved
        x = draw(2, 3, 32, 32)
        expected = model.forward_head(model.forward_features(x), pre_logits=True)
        folder = TimmEncoder(str(root / "folder"), trained="none")
        torch.testing.assert_close(folder(x), expected)
        assert folder.out_features == expected.shape[1]

    def test_a_file_of_weights_is_that_of_a_named_model_or_refused(self, saved):
        root, _ = saved
        x, file = draw(2, 3, 32, 32), str(root / "weights.pth")
        expected = TimmEncoder(str(root / "folder"), trained="none")
        torch.testing.assert_close(TimmEncoder("resnet10t", file, trained="none")(x), expected(x))
        for other, problem in (
            ("resnet14t", "size mismatch"),
            ("vit_tiny_patch16_224", r"\d+ keys are missing and \d+ unknown, cls_token, "),
        ):
            with pytest.raises(ValueError, match=f"are not of this model: .*{problem}"):
                TimmEncoder(other, file)

    def test_a_named_model_without_weights_is_drawn(self):
        torch.manual_seed(0)
        one, other = TimmEncoder("resnet10t"), TimmEncoder("resnet10t")
        assert not torch.equal(one.network.conv1[0].weight, other.network.conv1[0].weight)

    @pytest.mark.parametrize(
        ("source", "weights", "error", "message"),
        [
            ("resnet10t", "nowhere.pth", FileNotFoundError, "where there is no file"),
            ("timm/nothing", None, FileNotFoundError, "hf download timm/nothing"),
            ("folder", "x.pth", ValueError, "has weights of its own"),
        ],
    )
    def test_what_is_not_there_is_one_clear_error(self, saved, source, weights, error, message):
        source = str(saved[0] / source) if source == "folder" else source
        with pytest.raises(error, match=message):
            TimmEncoder(source, weights)


class TestTorchvision:
    @pytest.fixture
    def model(self):
        torch.manual_seed(0)
        return torchvision.models.resnet18(num_classes=4).eval()

    def test_features_are_what_the_classifier_was_given(self, model, tmp_path):
        torch.save(model.state_dict(), tmp_path / "weights.pth")
        encoder = TorchvisionEncoder("resnet18", str(tmp_path / "weights.pth"), trained="none")
        x = draw(2, 3, 32, 32)
        assert encoder.out_features == 512
        torch.testing.assert_close(model.fc(encoder(x)), model(x))

    def test_frames_are_averaged_and_one_channel_is_repeated(self, model, tmp_path):
        torch.save(model.state_dict(), tmp_path / "weights.pth")
        encoder = TorchvisionEncoder("resnet18", str(tmp_path / "weights.pth"), trained="none")
        clips = draw(2, 3, 2, 32, 32)
        expected = (encoder(clips[:, :, 0]) + encoder(clips[:, :, 1])) / 2
        torch.testing.assert_close(encoder(clips), expected)
        grey = draw(2, 1, 32, 32)
        torch.testing.assert_close(encoder(grey), encoder(grey.expand(-1, 3, -1, -1)))
        with pytest.raises(ValueError, match=r"TorchvisionEncoder takes pictures .*got \(2, 2, 32"):
            encoder(draw(2, 2, 32, 32))

    def test_published_weights_are_taken_from_the_cache_and_never_fetched(
        self, model, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
        with pytest.raises(FileNotFoundError, match=r"not in the hub cache .*Fetch it once, as"):
            TorchvisionEncoder("resnet18", "IMAGENET1K_V1")
        state = torchvision.models.resnet18(num_classes=1000).state_dict()
        url = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url
        (tmp_path / "checkpoints").mkdir()
        torch.save(state, tmp_path / "checkpoints" / Path(url).name)
        encoder = TorchvisionEncoder("resnet18", "IMAGENET1K_V1")
        assert torch.equal(encoder.network.conv1.weight, state["conv1.weight"])

    def test_what_is_not_there_is_one_clear_error(self, model, tmp_path):
        with pytest.raises(FileNotFoundError, match="neither a file nor published weights of res"):
            TorchvisionEncoder("resnet18", "IMAGENET")
        torch.save(model.state_dict(), tmp_path / "weights.pth")
        with pytest.raises(ValueError, match=r"are not of this model: .*Missing key"):
            TorchvisionEncoder("resnet34", str(tmp_path / "weights.pth"))
        with pytest.raises(ValueError, match="Unknown model nothing"):
            TorchvisionEncoder("nothing")
