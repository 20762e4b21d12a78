"""Prepare one clip, and one part of a store: what a worker process does."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inforeg_lightning.data.prepare.decode import ClipError, NoSound, read_sound
from inforeg_lightning.data.prepare.raw_tree import Source, check_still_there
from inforeg_lightning.data.prepare.recipe import Recipe
from inforeg_lightning.data.store import StoreWriter

_LOUDEST = 100.0
"""Samples beyond are not sound: full scale is 1, and a loud recording has a few times that."""


def prepare_clip(source: Source, recipe: Recipe) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Decode one clip.

    Returns:
        Frames uint8 ``(n, H, W, 3)`` and spectrogram float32 ``(F, T)``.

    Raises:
        ClipError: It cannot be used; the message says why.
    """
    if source.problem:
        raise ClipError(source.problem)
    with _named("video"):
        frames = _frames(source.video, recipe)
    with _named("audio"):
        return frames, _audio(source.audio, recipe)


def write_part(
    folder: Path,
    sources: list[Source],
    recipe: Recipe,
    settings: Mapping[str, Any],
    given_up: Mapping[str, str],
    starting: Callable[[str], None],
) -> None:
    """Write one part of a store.

    Args:
        folder: Where to.
        sources: The clips, in order.
        recipe: How they are prepared.
        settings: Of the whole store.
        given_up: Clips that are not to be tried again, with the reason.
        starting: Called with the name of each clip before it is decoded.

    Raises:
        RawTreeError: A clip cannot be read any more.
    """
    with StoreWriter(folder, settings, recipe.frame_format, recipe.jpeg_quality) as writer:
        for source in sources:
            starting(source.name)
            if source.name in given_up:
                writer.reject(source.name, given_up[source.name])
                continue
            try:
                frames, audio = prepare_clip(source, recipe)
            except ClipError as error:
                if not source.problem:
                    check_still_there(source)
                writer.reject(source.name, str(error))
                continue
            writer.add(source.name, source.label, frames, audio, source.group, source.split)


def _frames(path: Path, recipe: Recipe) -> NDArray[np.uint8]:
    frames = recipe.frames(path)
    if len(frames) < recipe.least_frames:
        raise ClipError(
            f"too short: {len(frames)} of at least {recipe.least_frames} frames, "
            f"at {recipe.frames_per_second:g} per second"
        )
    return frames


def _audio(path: Path, recipe: Recipe) -> NDArray[np.float32]:
    try:
        samples, rate = read_sound(path)
    except NoSound:
        if recipe.silence is None:
            raise
        return np.zeros(recipe.silence, np.float32)
    peak = float(np.abs(samples).max())
    if not peak <= _LOUDEST:  # nor is NaN
        raise ClipError(f"samples up to {peak:g}, where full scale is 1")
    try:
        return recipe.spectrogram(samples, rate)
    except ValueError as error:
        raise ClipError(f"too short: {error}") from error


@contextmanager
def _named(what: str) -> Iterator[None]:
    try:
        yield
    except ClipError as error:
        raise ClipError(f"{what}: {error}") from error
    except Exception as error:
        # Files from anywhere find faults that nobody has thought of, and a single one must not
        # end a run of hours. It is listed like any other.
        raise ClipError(f"{what}: {type(error).__name__}: {error}") from error
