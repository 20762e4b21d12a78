"""A history survives a checkpoint to the bit, in little space."""

import io

import torch

from inforeg_lightning.callbacks.history import make_entry, pack, unpack

QUANTITIES = ("trace", "score", "gap", "alpha", "pull", "penalty")
MODALITIES = ("audio", "video", "text")


def a_history(periods):
    history = []
    for t in range(periods):
        values = {q: {m: (t + 1) / (3 + i) for i, m in enumerate(MODALITIES)} for q in QUANTITIES}
        if t in (0, 3):  # a period without a step that counts
            values = {q: dict.fromkeys(MODALITIES) for q in QUANTITIES}
        counts = {"epoch": t, "step": 7 * t, "steps": 7, "skipped": t % 2}
        window = {"audio": True, "video": False, "text": t % 2 == 0}
        history.append(make_entry(history[-1] if history else None, counts, values, window))
    return history


def test_it_comes_back_as_it_was():
    for periods in (0, 1, 6):
        history = a_history(periods)
        file = io.BytesIO()
        torch.save(pack(history, MODALITIES, QUANTITIES), file)
        file.seek(0)
        assert unpack(torch.load(file, weights_only=True), MODALITIES, QUANTITIES) == history


def test_a_period_in_which_nothing_counts_has_the_trace_of_the_one_before():
    history = a_history(5)
    assert history[0]["trace"] == dict.fromkeys(MODALITIES, 0.0)
    assert history[3]["trace"] == history[2]["trace"]
    assert history[3]["change"] == dict.fromkeys(MODALITIES, 0.0)
    assert history[3]["score"] == dict.fromkeys(MODALITIES)


def test_fifty_periods_of_three_modalities_take_less_than_10_kb():
    file = io.BytesIO()
    torch.save(pack(a_history(50), MODALITIES, QUANTITIES), file)
    empty = io.BytesIO()
    torch.save({}, empty)
    assert file.tell() - empty.tell() < 10_000
