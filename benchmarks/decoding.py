"""How long a clip takes to prepare, and whether another decoder would be faster.

Prints one JSON object, and a few lines for people on stderr:

    python benchmarks/decoding.py [--quick] [--clips 24] [--rounds 8] [--threads 1]

torchcodec, which needs FFmpeg's shared libraries, is measured where it can be loaded.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from numpy.typing import NDArray

from inforeg_lightning.data.decode import read_frames
from inforeg_lightning.data.prepare_clip import RECIPES, prepare_clip
from inforeg_lightning.data.prepare_sources import Source
from measuring.clips import write_kinds
from measuring.interleave import quartiles
from measuring.published_loader import FULL_SIZE

try:
    import torchcodec
    from torchcodec.decoders import VideoDecoder
except (ImportError, OSError, RuntimeError) as error:  # RuntimeError: no FFmpeg libraries
    torchcodec = None
    print(f"without torchcodec: {str(error).splitlines()[0]}", file=sys.stderr)

# Ending -> codec, and the most frames from one key frame to the next.
KINDS = {"gap12.flv": ("flv", 12), "gap30.flv": ("flv", 30), "gap250.mp4": ("libx264", 250)}


def with_pyav(path: Path) -> NDArray[np.uint8]:
    """Three frames a second at full size, as preparation decodes them: (n, H, W, 3)."""
    return read_frames(path, 3, FULL_SIZE)


def with_torchcodec(path: Path) -> NDArray[np.uint8]:
    """The same frames; which they are is known here, and not looked for."""
    decoder = VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=1)
    wanted = list(range(0, len(decoder), 10))
    return decoder.get_frames_at(wanted).data.numpy()


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    made = [write_kinds(folder, number, KINDS, args.detail) for number in range(args.clips)]
    ways = {"pyav": with_pyav} | ({"torchcodec": with_torchcodec} if torchcodec else {})
    result = {}
    for kind in KINDS:
        videos = [videos[kind] for _, videos in made]
        sources = [Source("", 0, "", "", wav, videos[kind]) for wav, videos in made]
        runs = {name: partial(each, way, videos) for name, way in ways.items()}
        runs["prepare"] = partial(
            each, lambda source: prepare_clip(source, RECIPES["cremad"]), sources
        )
        result[kind] = compared(runs, args.rounds)
        if torchcodec:
            same = [np.array_equal(with_pyav(v), with_torchcodec(v)) for v in videos]
            result[kind]["clips_with_equal_frames"] = sum(same)
    return result


def each(way: Callable[[Any], Any], clips: list[Any]) -> float:
    """Milliseconds of CPU a clip."""
    start = time.process_time()
    for clip in clips:
        way(clip)
    return 1000 * (time.process_time() - start) / len(clips)


def compared(runs: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, Any]:
    """Every run in turn; the first round is left out, and ratios are taken within a round."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    order = list(runs)
    for number in range(rounds + 1):
        turn = number % len(order)
        for name in order[turn:] + order[:turn]:
            found[name].append(runs[name]())
    found = {name: times[1:] for name, times in found.items()}
    result: dict[str, Any] = {"ms": {name: quartiles(times) for name, times in found.items()}}
    if "torchcodec" in found:
        three = list(zip(found["prepare"], found["pyav"], found["torchcodec"], strict=True))
        result["decoding_gain"] = quartiles([mine / theirs for _, mine, theirs in three])
        # The whole of a clip, were its frames decoded by torchcodec.
        gains = [whole / (whole - mine + theirs) for whole, mine, theirs in three]
        result["prepare_gain"] = quartiles(gains)
    return result


def tell(result: Mapping[str, Any]) -> None:
    for kind in KINDS:
        times = ", ".join(f"{n} {q['median']:.1f} ms" for n, q in result[kind]["ms"].items())
        print(f"{kind}: {times}", file=sys.stderr)
        if gain := result[kind].get("prepare_gain"):
            words = f"{gain['median']:.2f} [{gain['q1']:.2f}, {gain['q3']:.2f}]"
            print(f"  prepare with torchcodec would be {words} × as fast", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=24, help="clips of each kind (default 24)")
    parser.add_argument("--detail", type=float, default=1.0, help="fine structure of frames (1)")
    parser.add_argument("--rounds", type=int, default=8, help="default 8")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default 1)")
    parser.add_argument("--quick", action="store_true", help="seconds, to see that it runs")
    args = parser.parse_args()
    if args.quick:
        args.clips, args.rounds = 2, 2
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        result = measure(args, Path(folder))
    versions = {"av": av.__version__, "torch": torch.__version__}
    versions["torchcodec"] = torchcodec.__version__ if torchcodec else None
    result["settings"] = {**vars(args), **versions}
    print(json.dumps(result, indent=1))
    tell(result)


if __name__ == "__main__":
    main()
