"""A small transformer over the words of a text, trained from scratch."""

import torch
from torch import Tensor, nn

from inforeg_lightning.models.sequence import transformer


class TextTransformer(nn.Module):
    """Embed each word and its place, let the words attend to each other, and take their mean.

    Input: ``(B, T)``, int64, in which 0 is padding. Output: ``(B, width)``; of a text without any
    word the mean is that of padding, which is the same for all.

    Args:
        vocabulary: Number of indices.
        width: Width of the transformer.
        max_words: Largest ``T``.
        heads: Attention heads; they divide ``width``.
        layers: Transformer layers.
        feedforward: Hidden units of each layer's perceptron.
        dropout: Dropout of each layer.

    Attributes:
        out_features: ``width``, the width of the output.

    Raises:
        ValueError: A size is not positive or ``heads`` does not divide ``width``; ``forward`` is
            given another shape, or more words.
    """

    def __init__(
        self,
        vocabulary: int,
        width: int = 128,
        max_words: int = 64,
        heads: int = 4,
        layers: int = 2,
        feedforward: int = 256,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if min(vocabulary, width, max_words, heads, layers, feedforward) < 1 or width % heads:
            raise ValueError(
                "vocabulary, width, max_words, heads, layers and feedforward must be positive, and "
                f"heads must divide width, got {vocabulary}, {width}, {max_words}, {heads}, "
                f"{layers} and {feedforward}"
            )
        self.out_features, self.max_words = width, max_words
        self.words = nn.Embedding(vocabulary, width, padding_idx=0)
        self.places = nn.Embedding(max_words, width)
        self.norm = nn.LayerNorm(width)
        self.transformer = transformer(width, heads, layers, feedforward, dropout)

    def forward(self, words: Tensor) -> Tensor:
        """Map ``(B, T)`` to ``(B, width)``."""
        if words.dim() != 2 or not 1 <= words.shape[1] <= self.max_words:
            raise ValueError(
                f"TextTransformer takes indices of words (B, T) with T up to {self.max_words}, got "
                f"{tuple(words.shape)}; raise max_words or cut the texts"
            )
        steps = torch.arange(words.shape[1], device=words.device)
        padding = words == 0
        # A text of padding alone would attend to nothing, which is NaN: it keeps its places.
        padding = padding & ~padding.all(dim=1, keepdim=True)
        tokens = self.norm(self.words(words) + self.places(steps))
        outputs = self.transformer(tokens, src_key_padding_mask=padding)
        kept = (~padding).unsqueeze(-1).to(outputs.dtype)
        features: Tensor = (outputs * kept).sum(dim=1) / kept.sum(dim=1)
        return features
