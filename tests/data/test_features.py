"""The published recipes against NumPy and SciPy, written from their descriptions."""

import numpy as np
import pytest
import scipy.signal

from inforeg_lightning.data.prepare import features

# What float16 keeps of a value.
STORED = {"rtol": 2**-10, "atol": 2**-10}


def sound(seconds, rate, channels=1, seed=0):
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    chirp = scipy.signal.chirp(time, 100, max(seconds, 0.1), 7_000)
    samples = 0.4 * chirp + 0.05 * rng.standard_normal((channels, len(time)))
    return samples.astype(np.float32)


def literal_log_spectrogram(mono):
    """At 22,050 Hz already: the sum over samples of every frame and frequency, in float64."""
    filled = np.clip(np.concatenate([mono, mono, mono])[:66_150].astype(np.float64), -1, 1)
    padded = np.concatenate([np.zeros(256), filled, np.zeros(256)])
    window = scipy.signal.get_window("hann", 512)  # periodic
    fourier = np.exp(-2j * np.pi * np.outer(np.arange(257), np.arange(512)) / 512)
    frames = [padded[353 * t : 353 * t + 512] * window for t in range(188)]
    return np.log(np.abs(fourier @ np.array(frames).T) + 1e-7)


def literal_filter_bank(mono):
    """At 16,000 Hz already, frame by frame and band by band, in float64."""

    def mel(hertz):
        return 1127 * np.log(1 + hertz / 700)

    window = scipy.signal.get_window("hann", 400, fftbins=False)
    corners = np.linspace(mel(20), mel(8_000), 130)
    hertz = mel(np.arange(257) * 31.25)
    mono = mono.astype(np.float64) - mono.mean(dtype=np.float64)
    bank = np.zeros((1024, 128))
    for t in range(min(1024, 1 + (len(mono) - 400) // 160)):
        frame = mono[160 * t : 160 * t + 400]
        frame = frame - frame.mean()
        emphasised = frame - 0.97 * np.concatenate([frame[:1], frame[:-1]])
        power = np.abs(scipy.fft.fft(emphasised * window, 512)[:257]) ** 2
        for band in range(128):
            weights = np.interp(hertz, corners[band : band + 3], [0, 1, 0])
            weights[256] = 0
            bank[t, band] = np.log(max(weights @ power, 1.1920928955078125e-07))
    return ((bank + 4.503877) / (2 * 5.141276)).T


@pytest.mark.parametrize("seconds", [1, 1.37, 3, 5])
def test_log_spectrogram_is_the_literal_one(seconds):
    samples = sound(seconds, 22_050) * 3  # some samples are clipped
    found = features.log_spectrogram(samples, 22_050)
    assert found.shape == features.LOG_SPECTROGRAM_SHAPE
    assert found.dtype == np.float32
    np.testing.assert_allclose(
        found.astype(np.float16), literal_log_spectrogram(samples[0]), **STORED
    )


@pytest.mark.parametrize("seconds", [0.025, 0.4, 10])
def test_filter_bank_is_the_literal_one(seconds):
    samples = sound(seconds, 16_000)
    found = features.filter_bank(samples, 16_000)
    assert found.shape == features.FILTER_BANK_SHAPE
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.astype(np.float16), literal_filter_bank(samples[0]), **STORED)


def test_filter_bank_is_kaldis():
    kaldi = pytest.importorskip("torchaudio.compliance.kaldi", exc_type=ImportError)
    import torch

    samples = sound(10.5, 16_000)
    bank = kaldi.fbank(
        torch.from_numpy(samples - samples.mean()),
        htk_compat=True,
        sample_frequency=16_000,
        use_energy=False,
        window_type="hanning",
        num_mel_bins=128,
        dither=0.0,
        frame_shift=10,
    )
    expected = ((bank[:1024].T + 4.503877) / (2 * 5.141276)).numpy()
    np.testing.assert_allclose(features.filter_bank(samples, 16_000), expected, atol=2e-4)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_a_tone_keeps_its_pitch_and_length_at_any_rate(rate):
    time = np.arange(2 * rate + 1) / rate
    tone = (0.5 * np.sin(2 * np.pi * 1_000 * time)).astype(np.float32)[None]
    resampled = features.resample(tone, rate, 22_050)
    assert resampled.shape == (1, int(np.ceil(len(time) * 22_050 / rate)))
    expected = 0.5 * np.sin(2 * np.pi * 1_000 * np.arange(resampled.shape[1]) / 22_050)
    middle = slice(2_000, -2_000)
    np.testing.assert_allclose(resampled[0, middle], expected[middle], atol=1e-3)


def test_resampling_agrees_with_a_windowed_sinc():
    """Independent of soxr: below both Nyquist frequencies any good resampler is the same."""
    samples = sound(1.5, 16_000)
    band = scipy.signal.firwin(255, 3_000, fs=16_000)
    samples = scipy.signal.convolve(samples, band[None], mode="same").astype(np.float32)
    literal = scipy.signal.resample_poly(samples, 441, 320, axis=1, window=("kaiser", 14.0))
    found = features.resample(samples, 16_000, 22_050)
    np.testing.assert_allclose(
        found[0, 500:-500], literal[0, 500 : found.shape[1] - 500], atol=1e-3
    )


def test_equal_rates_are_left_alone():
    samples = sound(1, 16_000)
    assert features.resample(samples, 16_000, 16_000) is samples


def test_channels():
    left, right = sound(2, 22_050, seed=1), sound(2, 22_050, seed=2)
    stereo = np.concatenate([left, right])
    np.testing.assert_array_equal(
        features.log_spectrogram(stereo, 22_050),
        features.log_spectrogram((left + right) / 2, 22_050),
    )
    np.testing.assert_array_equal(
        features.filter_bank(stereo, 16_000), features.filter_bank(left, 16_000)
    )


def test_silence_is_finite():
    silence = np.zeros((1, 16_000 * 4), np.float32)
    np.testing.assert_allclose(features.log_spectrogram(silence, 16_000), np.log(1e-7), rtol=1e-6)
    bank = features.filter_bank(silence, 16_000)
    expected = (np.log(2.0**-23) + 4.503877) / (2 * 5.141276)
    np.testing.assert_allclose(bank[:, :398], expected, rtol=1e-5)
    np.testing.assert_allclose(bank[:, 398:], 4.503877 / (2 * 5.141276), rtol=1e-5)


def test_too_short():
    with pytest.raises(ValueError, match=r"has 0.99 s, at least 1 s"):
        features.log_spectrogram(sound(0.99, 16_000), 16_000)
    with pytest.raises(ValueError, match="has 10 ms, at least 25 ms"):
        features.filter_bank(sound(0.01, 16_000), 16_000)
