import numpy as np
import pytest

from inforeg_lightning.data.digits.rendering import (
    cluttered_image,
    enlarge,
    in_noise,
    log_mel_spectrogram,
    mel_filters,
)

RATE = 22_050


def rng(seed=0):
    return np.random.default_rng(seed)


class TestImages:
    def test_enlarging_keeps_a_constant_and_the_direction_of_a_ramp(self):
        np.testing.assert_allclose(enlarge(np.full((8, 8), 0.7, np.float32), 15), 0.7, rtol=1e-6)
        ramp = np.tile(np.arange(8, dtype=np.float32), (8, 1))
        enlarged = enlarge(ramp, 16)
        assert enlarged.shape == (16, 16)
        assert enlarged.dtype == np.float32
        assert (np.diff(enlarged, axis=1) >= 0).all()
        np.testing.assert_allclose(enlarged, enlarged[:1].repeat(16, axis=0), atol=1e-6)

    def test_the_whole_digit_is_somewhere(self):
        digit = rng().random((8, 8), np.float32)
        places = set()
        for seed in range(20):
            image = cluttered_image(digit, [], rng(seed), 20, (10, 10), noise=0.0)
            top, left = np.argwhere(image > 0).min(axis=0)
            np.testing.assert_array_equal(
                image[top : top + 10, left : left + 10], enlarge(digit, 10)
            )
            places.add((top, left))
        assert len(places) > 10

    def test_clutter_adds_strokes_and_hides_none(self):
        digit, other = np.full((8, 8), 0.5, np.float32), np.ones((8, 8), np.float32)
        image = cluttered_image(digit, [other, other], rng(), 24, (10, 12), noise=0.0)
        assert (image == 1).any()
        assert (image >= 0.5).sum() >= 100

    def test_noise_has_the_deviation_asked_for(self):
        blank = np.zeros((8, 8), np.float32)
        image = cluttered_image(blank, [], rng(), 100, (10, 12), noise=0.3)
        assert image.dtype == np.float32
        assert image.std() == pytest.approx(0.3, rel=0.05)


class TestSound:
    @pytest.mark.parametrize("snr_db", [-6.0, 0.0, 10.0])
    def test_power_over_noise_is_what_was_asked_for(self, snr_db):
        wave = np.sin(np.arange(20_000) / 7).astype(np.float32)
        silent = in_noise(np.zeros(20_000, np.float32), rng(), 20_000, snr_db)
        # The same draws, so that the difference is the word alone.
        word = in_noise(wave, rng(), 20_000, snr_db) - silent
        assert 10 * np.log10(np.mean(word**2) / np.mean(silent**2)) == pytest.approx(
            snr_db, abs=0.2
        )

    def test_a_word_lies_anywhere_and_a_long_one_is_cut(self):
        click = np.full(10, 1.0, np.float32)
        starts = {int(in_noise(click, rng(s), 500, 60.0).argmax()) // 50 for s in range(40)}
        assert len(starts) > 5
        assert in_noise(np.ones(900, np.float32), rng(), 500, 0.0).shape == (500,)

    def test_a_tone_shows_in_its_own_band(self):
        filters = mel_filters(32, 1024, RATE, 80.0, 7600.0)
        assert filters.shape == (32, 513)
        np.testing.assert_allclose(filters.sum(axis=1), 1, rtol=1e-5)
        window = np.hanning(1024).astype(np.float32)
        bands = []
        for hz in (300, 1000, 3000, 6000):
            tone = np.sin(2 * np.pi * hz * np.arange(8192) / RATE).astype(np.float32)
            spectrogram = log_mel_spectrogram(tone, filters, window, hop=512)
            assert spectrogram.shape == (32, 15)
            assert spectrogram.dtype == np.float32
            band = int(spectrogram.mean(axis=1).argmax())
            assert abs((filters[band] * np.arange(513)).sum() * RATE / 1024 - hz) < 0.15 * hz
            bands.append(band)
        assert bands == sorted(set(bands))

    def test_filters_without_a_bin_of_their_own_take_the_nearest(self):
        filters = mel_filters(40, 256, RATE, 50.0, 8000.0)
        assert np.isfinite(filters).all()
        np.testing.assert_allclose(filters.sum(axis=1), 1, rtol=1e-5)

    def test_louder_by_ten_decibels_is_ln_ten_more(self):
        filters = mel_filters(8, 512, RATE, 80.0, 7600.0)
        wave, window = rng().standard_normal(4096).astype(np.float32), np.hanning(512)
        quiet = log_mel_spectrogram(wave, filters, window.astype(np.float32), 256)
        loud = log_mel_spectrogram(
            wave * np.float32(10**0.5), filters, window.astype(np.float32), 256
        )
        np.testing.assert_allclose(loud - quiet, np.log(10), rtol=1e-3)
