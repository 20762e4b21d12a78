"""Spoken words from eSpeak NG, through the shared library in the wheel ``espeakng-loader``."""

import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 22_050
"""Samples per second of every waveform, in Hz."""

_WORKER = Path(__file__).with_name("_espeak_worker.py")


class Utterance(NamedTuple):
    """What is said, and how.

    Attributes:
        text: The words.
        voice: eSpeak NG's name of a language and, after a plus sign, of a variant:
            ``"en-us+f3"``.
        speed: Words per minute, 80 to 450.
        pitch: 0 to 99; 50 is the voice's own.
    """

    text: str
    voice: str
    speed: int = 175
    pitch: int = 50


def speak(utterances: Sequence[Utterance]) -> list[NDArray[np.float32]]:
    """Synthesise a list of utterances; the same list always gives the same samples.

    eSpeak NG keeps state between words (flutter, noise) that no call resets, not even
    re-initialisation, so that an utterance by itself depends on all before it. Hence a list is
    spoken from its beginning in a fresh process: nothing leaks from one list to another, and the
    library is never loaded into a process that forks. About 2,000 words per second.

    Args:
        utterances: What to say, in order. The samples of one depend slightly on those before it.

    Returns:
        One waveform for each utterance, float32 in [-1, 1], mono, at ``SAMPLE_RATE``.

    Raises:
        ModuleNotFoundError: The wheel ``espeakng-loader`` is not installed.
        ValueError: A speed or pitch is out of range.
        RuntimeError: eSpeak NG failed, as with a voice that it does not know.
    """
    _check(utterances)
    if find_spec("espeakng_loader") is None:
        raise ModuleNotFoundError(
            "spoken words need eSpeak NG from the package espeakng-loader, which is not "
            "installed: pip install 'inforeg-lightning[data]'",
            name="espeakng_loader",
        )
    import espeakng_loader

    voices = Path(espeakng_loader.get_data_path())
    request = {
        "library": str(espeakng_loader.get_library_path()),
        "voices_folder": voices.name,
        "utterances": [list(utterance) for utterance in utterances],
    }
    done = subprocess.run(
        # -I: neither the folder of the script nor the user's environment may shadow a module.
        [sys.executable, "-I", str(_WORKER)],
        input=json.dumps(request).encode(),
        # eSpeak NG cuts paths at 160 characters; a name relative to here is always short enough.
        cwd=voices.parent,
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"eSpeak NG failed with exit status {done.returncode}: "
            f"{done.stderr.decode(errors='replace').strip() or 'no message'}"
        )
    return _split(done.stdout, len(utterances))


def _split(stream: bytes, count: int) -> list[NDArray[np.float32]]:
    waves, start = [], 0
    for _ in range(count):
        size = int(np.frombuffer(stream, "<u4", count=1, offset=start)[0])
        samples = np.frombuffer(stream, "<i2", count=size, offset=start + 4)
        waves.append(samples.astype(np.float32) / np.float32(32_768))
        start += 4 + 2 * size
    return waves


def _check(utterances: Sequence[Utterance]) -> None:
    for utterance in utterances:
        if not 80 <= utterance.speed <= 450:
            raise ValueError(f"speed must be 80 to 450 words per minute, got {utterance}")
        if not 0 <= utterance.pitch <= 99:
            raise ValueError(f"pitch must be 0 to 99, got {utterance}")
