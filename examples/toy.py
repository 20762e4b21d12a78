"""The model and data that the examples share: audio shows the label clearly, video faintly."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ENCODERS = {"audio": "audio_encoder", "video": "video_encoder"}
EPOCHS = 8


class LateFusion(nn.Module):
    """An encoder per modality, and a linear head on their concatenated features."""

    def __init__(self) -> None:
        super().__init__()
        self.audio_encoder = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 8))
        self.video_encoder = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 8))
        self.head = nn.Linear(16, 4)

    def forward(self, audio: Tensor, video: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Logits and loss of a batch, as models of transformers return them."""
        features = torch.cat([self.audio_encoder(audio), self.video_encoder(video)], dim=1)
        logits = self.head(features)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


def make_samples(count: int = 128) -> list[dict[str, Tensor]]:
    """Samples of four classes."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (count,), generator=generator)
    audio = torch.randn(count, 12, generator=generator)
    video = torch.randn(count, 20, generator=generator)
    audio[:, :4] += 3 * F.one_hot(labels, 4)
    video[:, :4] += 1 * F.one_hot(labels, 4)
    rows = zip(audio, video, labels, strict=True)
    return [{"audio": a, "video": v, "labels": label} for a, v, label in rows]


def make_batches(size: int = 16) -> list[dict[str, Tensor]]:
    """The same in batches."""
    return list(torch.utils.data.DataLoader(make_samples(), batch_size=size))


def make_model() -> LateFusion:
    """A model that begins the same in every example."""
    torch.manual_seed(0)
    return LateFusion()


def show(history: list[dict]) -> None:
    """The history, a line per epoch."""
    for entry in history:
        alphas = ", ".join(f"{m} {alpha:.2f}" for m, alpha in entry["alpha"].items())
        scores = ", ".join(f"{m} {score:.2f}" for m, score in entry["score"].items())
        print(f"epoch {entry['epoch']}: strength {alphas}; score {scores}")
