import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inforeg_lightning.core.window import (
    AdaptiveWindow,
    OfficialWindow,
    OutsideWindow,
    PaperWindow,
    RangeWindow,
    make_window,
)

trace_values = st.floats(0, 1e12, allow_subnormal=True)
traces = st.lists(trace_values, max_size=30)
NAMES = ["paper", "official", "adaptive", "always", "outside", "never"]


def decisions(window, trace):
    """What a window decides for periods 0 to ``len(trace)``."""
    return [window({"m": trace[:t]})["m"] for t in range(len(trace) + 1)]


def literal_official(trace, K=0.05):
    """The published code's padding and moving average, with ten zeros written out."""
    result = []
    for period in range(len(trace) + 1):
        padded = [0.0] * 10 + list(trace[:period])
        newest, previous = sum(padded[-10:]) / 10, sum(padded[-11:-1]) / 10
        result.append(period == 0 or (newest > 0 and (newest - previous) / newest > K))
    return result


def test_the_papers_window_by_hand():
    window = PaperWindow(K=0.5)
    assert decisions(window, [1.0, 3.0, 6.0, 6.1, 13.0]) == [False, False, True, False, False, True]
    # The change must exceed K, and is taken relative to the newest trace.
    assert not window({"m": [1.0, 2.0]})["m"]
    assert window({"m": [1.0, 2.1]})["m"]


def test_each_modality_goes_by_its_own_trace():
    assert PaperWindow()({"a": [1.0, 2.0], "b": [2.0, 1.0]}) == {"a": True, "b": False}
    assert OutsideWindow()({"a": [1.0, 2.0], "b": [2.0, 1.0]}) == {"a": False, "b": True}


@settings(max_examples=60, deadline=None)
@given(traces, st.floats(0, 0.99))
def test_paper_and_outside_share_the_periods_from_the_third_on(trace, K):
    inside, outside = (decisions(window(K), trace) for window in (PaperWindow, OutsideWindow))
    assert not any(inside[:2] + outside[:2])
    assert all(i != o for i, o in zip(inside[2:], outside[2:], strict=True))


@pytest.mark.parametrize("height", [5e-324, 1e-40, 1.0, 1e300])
def test_a_constant_trace_keeps_the_official_window_open_in_periods_0_to_10_exactly(height):
    assert decisions(OfficialWindow("m"), [height] * 30) == [True] * 11 + [False] * 20


def test_the_gate_decides_for_all():
    window = OfficialWindow("a")
    rising, falling = [1.0] * 12 + [9.0], [9.0] * 12 + [1.0]
    assert window({"a": rising, "b": falling}) == {"a": True, "b": True}
    assert window({"a": falling, "b": rising}) == {"a": False, "b": False}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 1000), max_size=30), st.sampled_from([0.0, 0.04, 0.05, 0.3]))
def test_the_official_window_is_that_of_the_padded_list(trace, K):
    near = [
        len(trace[:t]) > 0
        and sum(trace[:t][-10:]) > 0
        and abs(1 - sum(trace[: t - 1][-10:]) / sum(trace[:t][-10:]) - K) < 1e-9
        for t in range(len(trace) + 1)
    ]
    ours = decisions(OfficialWindow("m", K), trace)
    for mine, theirs, undecided in zip(ours, literal_official(trace, K), near, strict=True):
        assert mine == theirs or undecided


def test_the_adaptive_window_by_hand():
    # Smoothed with 0.5: 8, 4, 2, 1.5, 0.75; a fifth of the peak is 1.6.
    assert decisions(AdaptiveWindow(), [8.0, 0.0, 0.0, 1.0, 0.0]) == [True] * 4 + [False] * 2
    assert decisions(AdaptiveWindow(smoothing=1.0, fall=0.5), [4.0, 2.0, 1.9]) == [
        True, True, True, False,
    ]  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(traces)
def test_the_adaptive_window_closes_once_and_for_good(trace):
    found = decisions(AdaptiveWindow(), trace)
    assert found[0]
    assert found == sorted(found, reverse=True)


@settings(max_examples=60, deadline=None)
@given(traces, trace_values)
def test_the_adaptive_window_stays_shut_whatever_comes(trace, next_value):
    window = AdaptiveWindow()
    if not window({"m": trace})["m"]:
        assert not window({"m": [*trace, next_value]})["m"]


@pytest.mark.parametrize("periods", [0, 1, 40])
def test_an_all_zero_trace_never_closes_the_adaptive_window(periods):
    assert all(decisions(AdaptiveWindow(), [0.0] * periods))


def test_a_rising_or_constant_trace_never_closes_the_adaptive_window():
    assert all(decisions(AdaptiveWindow(), [float(t) for t in range(50)]))
    assert all(decisions(AdaptiveWindow(), [3.0] * 50))


def test_ranges():
    assert decisions(RangeWindow(1, 3), [0.0] * 4) == [False, True, True, False, False]
    assert decisions(RangeWindow(2), [0.0] * 4) == [False, False, True, True, True]
    assert not any(decisions(RangeWindow(2, 2), [0.0] * 4))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["paper", "adaptive", "always", "outside", "never", (2, 5)]),
    st.lists(trace_values, max_size=12).flatmap(
        lambda first: st.lists(
            st.lists(trace_values, min_size=len(first), max_size=len(first)),
            min_size=1,
            max_size=4,
        ).map(lambda rest: [first, *rest])
    ),
    st.randoms(),
)
def test_renaming_and_reordering_the_modalities_changes_nothing(name, by_modality, random):
    window = make_window(name, modalities=["unused"])
    given = dict(enumerate(by_modality))
    order = [*given]
    random.shuffle(order)
    expected = window(given)
    renamed = window({f"m{index}": given[index] for index in order})
    assert [*renamed] == [f"m{index}" for index in order]
    assert renamed == {f"m{index}": expected[index] for index in order}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(NAMES), st.lists(st.floats(0, 1e300), max_size=15))
def test_a_window_keeps_no_state(name, trace):
    window = make_window(name, modalities=["m"])
    forwards = decisions(window, trace)
    backwards = [window({"m": trace[:t]})["m"] for t in reversed(range(len(trace) + 1))]
    assert forwards == backwards[::-1]


def test_names():
    made = {name: make_window(name, modalities=["a", "b"], K=0.1) for name in NAMES}
    assert made == {
        "paper": PaperWindow(0.1),
        "official": OfficialWindow("a", 0.1),
        "adaptive": AdaptiveWindow(),
        "always": RangeWindow(0, None),
        "outside": OutsideWindow(0.1),
        "never": RangeWindow(0, 0),
    }
    assert all(decisions(made["always"], [0.0] * 5))
    assert not any(decisions(made["never"], [0.0] * 5))


def test_ranges_and_callables_are_windows_too():
    assert make_window((0, 10), modalities=["a", "b"]) == RangeWindow(0, 10)
    assert make_window([3, 4], modalities=["a", "b"]) == RangeWindow(3, 4)

    def mine(traces):
        return dict.fromkeys(traces, True)

    assert make_window(mine, modalities=["a", "b"]) is mine


@pytest.mark.parametrize("window", [PaperWindow, OutsideWindow, lambda K: OfficialWindow("m", K)])
@pytest.mark.parametrize("K", [-0.01, 1.0, 4.0, math.nan, math.inf])
def test_a_threshold_that_could_never_open_the_window(window, K):
    with pytest.raises(ValueError, match=r"`K` must be in \[0, 1\)"):
        window(K)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_window("papre", modalities=["m"]), "`window` must be one of .*'papre'"),
        (lambda: make_window("paper", modalities=["m"], K=1.5), "`K` must be in"),
        (lambda: make_window((4, 2), modalities=["m"]), r"0 <= start <= stop, but is \(4, 2\)"),
        (lambda: RangeWindow(-1, 2), "0 <= start <= stop"),
        (lambda: AdaptiveWindow(smoothing=0.0), r"`smoothing` must be in \(0, 1\]"),
        (lambda: AdaptiveWindow(smoothing=1.1), "`smoothing`"),
        (lambda: AdaptiveWindow(fall=0.0), "`fall` must be between 0 and 1"),
        (lambda: AdaptiveWindow(fall=1.0), "`fall`"),
    ],
)
def test_values_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("window", [5, None, (1, 2, 3), (0.0, 2.0), (None, 2)])
def test_what_is_no_window(window):
    with pytest.raises(TypeError, match=r"`window` must be a name, a range .* or a callable"):
        make_window(window, modalities=["m"])


def test_a_range_without_an_end():
    window = make_window((1, None), modalities=["a", "b"])
    assert [window({"a": [1.0] * t})["a"] for t in range(4)] == [False, True, True, True]
