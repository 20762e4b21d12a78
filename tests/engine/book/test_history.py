"""What an entry of a history holds when nothing counts, and how it is logged."""

from inforeg_lightning.engine.book.history import flatten, make_entry

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


def test_a_period_in_which_nothing_counts_has_the_trace_of_the_one_before():
    history = a_history(5)
    assert history[0]["trace"] == dict.fromkeys(MODALITIES, 0.0)
    assert history[3]["trace"] == history[2]["trace"]
    assert history[3]["change"] == dict.fromkeys(MODALITIES, 0.0)
    assert history[3]["score"] == dict.fromkeys(MODALITIES)


def test_it_is_logged_by_quantity_and_modality_where_it_is_defined():
    entry = a_history(4)[3]
    logged = flatten(entry, "inforeg")
    assert logged["inforeg/trace/audio"] == entry["trace"]["audio"]
    assert logged["inforeg/in_window/video"] == 0.0
    assert "inforeg/score/audio" not in logged
    assert not any("epoch" in name for name in logged)
