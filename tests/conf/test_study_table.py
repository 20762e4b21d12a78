"""Tables of earlier studies, and how their numbers are written."""

from inforeg_lightning.report import Interval
from running.markdown import p_value, percent, plus_minus, points, table
from running.study_table import heads_table, readme_table, regulation_table


def method(name, mean, difference=None, seeds=(0, 1)):
    def cell(value):
        of = None if difference is None else interval(difference)
        return interval(value) | {"difference": of}

    quantities = ("accuracy", "accuracy_audio", "accuracy_image", "probe_audio", "probe_image")
    return {"method": name, "seeds": [*seeds], "last": {q: cell(mean) for q in quantities}}


def interval(mean):
    return Interval(mean, mean - 0.012, mean + 0.012, 2).to_dict()


def kept(experiment, *names):
    methods = [method("none", 0.5), *(method(f"{name},beta=0.9", 0.46, -0.04) for name in names)]
    return {"experiments": {experiment: {"methods": methods}}}


def test_a_method_has_its_value_and_its_difference():
    of = kept("av_digits", "inforeg", "inforeg_adaptive", "inforeg_official")
    lines = heads_table(of).splitlines()
    assert lines[0] == "| method | fused | audio, head | image, head |"
    assert lines[2] == "| joint training" + 3 * " | 50.0 ± 1.2" + " |"
    assert lines[3] == "| InfoReg, the paper's window" + 3 * " | 46.0 ± 1.2 (−4.0 ± 1.2)" + " |"
    assert "last epoch, 2 seeds | fused | difference to joint |" in readme_table(of)
    assert "| 46.0 ± 1.2 | −4.0 ± 1.2 | 46.0 ± 1.2 | −4.0 ± 1.2 |" in readme_table(of)


def test_regulation_is_told_apart_by_when_it_acts():
    of = kept("av_digits, table4", "inforeg", "inforeg_outside", "inforeg_always")
    titles = [line.split(" | ")[0] for line in regulation_table(of).splitlines()]
    assert titles == [
        "| regulation, 2 seeds",
        "| ---",
        "| none (joint training)",
        "| inside the window (InfoReg)",
        "| outside it",
        "| throughout",
    ]


def test_numbers_are_written_with_a_minus_and_their_interval():
    assert percent([0.5, 0.6]) == "55.0 ± 63.5"
    assert percent([0.5]) == "50.0"
    assert percent(None) == "–"
    assert points([-0.1, -0.1]) == "−10.0 ± 0.0"
    assert points(None) == ""
    assert plus_minus(Interval(0.1234, 0.1, 0.1468, 3), 1.0, digits=2) == "+0.12 ± 0.02"
    assert (p_value(0.0004), p_value(0.0123)) == ("< 0.001", "0.012")
    assert table(["a", "b"], [["x", "1"]]) == ["| a | b |", "| --- | ---: |", "| x | 1 |"]
