"""Speak a list of words with eSpeak NG; run by path in a process of its own (see speech.py).

Standard library only, so that it starts in a few hundredths of a second. Reads one JSON object
from standard input: ``library``, ``voices_folder`` (in the working folder), and ``utterances``,
each ``[text, voice, speed, pitch]``. Writes, for each, the number of samples (uint32) and the
samples (int16), both little-endian, to standard output. A fault goes to standard error with exit
status 1.
"""

import ctypes
import json
import struct
import sys
from collections.abc import Iterator
from typing import Any

# Values of the enumerations in espeak-ng's public header speak_lib.h.
_SYNCHRONOUS = 2
_DONT_EXIT = 0x8000
_RATE, _PITCH = 1, 3
_POSITION_CHARACTER = 1
_UTF8 = 1
_SAMPLE_RATE = 22_050


def _speak(request: dict[str, Any]) -> Iterator[bytes]:
    speaker = ctypes.CDLL(request["library"])
    pieces: list[bytes] = []

    def keep(samples: int | None, count: int, _events: int | None) -> int:
        if samples and count > 0:
            pieces.append(ctypes.string_at(samples, 2 * count))
        return 0

    callback_type = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
    callback = callback_type(keep)  # held here: the library keeps a bare pointer to it

    folder = request["voices_folder"].encode()
    rate = speaker.espeak_Initialize(_SYNCHRONOUS, 0, folder, _DONT_EXIT)
    if rate != _SAMPLE_RATE:
        raise RuntimeError(f"espeak_Initialize({folder!r}) returned {rate}, not {_SAMPLE_RATE}")
    # Initialising seeds the breath and flutter noise from the clock.
    speaker.espeak_ng_SetRandSeed(ctypes.c_long(1))
    speaker.espeak_SetSynthCallback(callback)
    for text, voice, speed, pitch in request["utterances"]:
        if speaker.espeak_SetVoiceByName(voice.encode()):
            raise ValueError(f"eSpeak NG has no voice {voice!r}")
        speaker.espeak_SetParameter(_RATE, speed, 0)
        speaker.espeak_SetParameter(_PITCH, pitch, 0)
        encoded = text.encode()
        size = ctypes.c_size_t(len(encoded) + 1)
        status = speaker.espeak_Synth(encoded, size, 0, _POSITION_CHARACTER, 0, _UTF8, None, None)
        if status:
            raise RuntimeError(f"espeak_Synth({text!r}) returned {status}")
        yield b"".join(pieces)
        pieces.clear()


def _main() -> None:
    request = json.load(sys.stdin)
    try:
        for samples in _speak(request):
            sys.stdout.buffer.write(struct.pack("<I", len(samples) // 2) + samples)
    except (OSError, RuntimeError, ValueError, AttributeError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    _main()
