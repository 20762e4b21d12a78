"""Every program says what it takes when it is asked, or is given nothing where it needs a name."""

import pytest


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("prepare.py", "--help"), "data= is one of: cremad, kinetics_sounds"),
        (("prepare.py", "-h"), "python experiments/prepare.py data=cremad data.root=RAW"),
        (("prepare.py", "data=cremad", "--help"), "short_side: 256"),
        (("shard.py", "--help"), "shard_mb: 256"),
        (("train.py", "--help"), "callbacks: agm, alternating_greedy"),
        (("study.py", "--help"), "usage: study.py NAME"),
        (("study.py",), "beside each modality alone"),
        (("report.py", "--help"), "--tsne"),
        (("report.py", "--help"), "--subsets"),
        (("diagnose.py", "--help"), "seeds:"),
    ],
)
def test_help_is_printed_and_nothing_is_left(start, tmp_path, command, said):
    process = start(*command, cwd=tmp_path)
    assert said in process.stdout
    assert process.stderr == ""
    assert list(tmp_path.iterdir()) == []
