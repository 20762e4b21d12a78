"""How the frames of a store are encoded: raw bytes, or JPEG files."""

import io

import numpy as np
from numpy.typing import NDArray

FRAME_FORMATS = ("raw", "jpeg")


def encode_frames(
    frames: NDArray[np.uint8], frame_format: str, jpeg_quality: int = 95
) -> list[bytes]:
    """Return the bytes to store of each of some frames ``(n, H, W, 3)``, RGB."""
    if frame_format == "raw":
        return [frame.tobytes() for frame in frames]
    from PIL import Image

    packed = []
    for frame in frames:
        file = io.BytesIO()
        # Colour at half the resolution is what the videos themselves have.
        Image.fromarray(frame).save(file, "JPEG", quality=jpeg_quality, subsampling="4:2:0")
        packed.append(file.getvalue())
    return packed


def decode_jpeg(packed: bytes) -> NDArray[np.uint8]:
    """Decode a JPEG file's bytes to pixels ``(H, W, 3)``, uint8, RGB.

    Raises:
        OSError: It is no JPEG, or one cut short.
    """
    # Not torchvision's, which is deprecated as of 0.29.
    from PIL import Image

    with Image.open(io.BytesIO(packed), formats=("JPEG",)) as image:
        return np.asarray(image)
