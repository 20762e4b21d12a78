"""Whose features the head's inputs are, and which logits each modality gives alone."""
