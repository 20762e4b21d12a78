import importlib.util
import os
import shutil

import numpy as np
import pytest

from inforeg_lightning.data.digits import speech
from inforeg_lightning.data.digits.speech import SAMPLE_RATE, Utterance, speak

needs_espeak = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None, reason="needs espeakng-loader"
)


@needs_espeak
def test_words_sound():
    (wave,) = speak([Utterance("seven", "en-us")])
    assert wave.dtype == np.float32
    assert 0.2 < len(wave) / SAMPLE_RATE < 1.0
    assert 0.1 < np.abs(wave).max() <= 1.0


@needs_espeak
def test_the_same_list_gives_the_same_samples_and_lists_do_not_affect_each_other():
    # A whispering and a fluttering voice: both use eSpeak's random numbers.
    words = [Utterance("seven", "en+whisper"), Utterance("one", "en-us+f1"), Utterance("six", "en")]
    first = speak(words)
    speak([Utterance("three", "en+croak", speed=120, pitch=80)])
    for a, b in zip(first, speak(words), strict=True):
        assert np.array_equal(a, b)


@needs_espeak
@pytest.mark.parametrize(
    "change", [{"text": "one"}, {"voice": "en+f3"}, {"speed": 250}, {"pitch": 90}]
)
def test_every_setting_is_heard(change):
    plain = Utterance("seven", "en-us")
    (a,), (b,) = speak([plain]), speak([plain._replace(**change)])
    assert len(a) != len(b) or not np.array_equal(a, b)


@needs_espeak
def test_speed_and_pitch_do_not_stay_behind():
    fast, plain = Utterance("seven", "en", speed=400), Utterance("seven", "en")
    after_fast, plain_first = speak([fast, plain])[1], speak([plain])[0]
    assert abs(len(after_fast) - len(plain_first)) < 0.01 * SAMPLE_RATE


@needs_espeak
@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="needs Linux")
def test_the_library_is_not_loaded_into_this_process():
    speak([Utterance("one", "en")])
    with open("/proc/self/maps") as maps:
        assert "libespeak" not in maps.read()


@needs_espeak
def test_a_long_path_to_the_voices_is_no_obstacle(tmp_path, monkeypatch):
    # eSpeak NG itself keeps 160 characters of the path.
    import espeakng_loader

    words = [Utterance("seven", "en-us+f1")]
    expected = speak(words)
    deep = tmp_path / ("x" * 100) / ("y" * 100) / "espeak-ng-data"
    shutil.copytree(espeakng_loader.get_data_path(), deep)
    monkeypatch.setattr(espeakng_loader, "get_data_path", lambda: str(deep))
    assert np.array_equal(speak(words)[0], expected[0])


@needs_espeak
def test_an_unknown_voice_is_named():
    with pytest.raises(RuntimeError, match="has no voice 'xx-nowhere'"):
        speak([Utterance("one", "xx-nowhere")])


@pytest.mark.parametrize(
    ("utterance", "message"),
    [
        (Utterance("one", "en", speed=20), "speed must be 80 to 450"),
        (Utterance("one", "en", pitch=100), "pitch must be 0 to 99"),
    ],
)
def test_refuses_values_out_of_range(utterance, message):
    with pytest.raises(ValueError, match=message):
        speak([utterance])


def test_a_missing_wheel_names_the_extra(monkeypatch):
    monkeypatch.setattr(speech, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"inforeg-lightning\[data\]"):
        speak([Utterance("one", "en")])
