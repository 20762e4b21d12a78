"""Optical flow between two frames, as a picture that a store can hold."""

import numpy as np
from numpy.typing import NDArray

MOST = 20.0
"""Pixels per frame at which motion is cut off, as two-stream networks do."""


def optical_flow(frame: NDArray[np.uint8], following: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Dense flow by Farnebäck's method (SCIA 2003), with the parameters of OpenCV's example.

    Args:
        frame: RGB, uint8 ``(H, W, 3)``.
        following: The next frame, of the same size.

    Returns:
        uint8 ``(H, W, 3)``: horizontal and vertical motion, -20 to 20 pixels as 0 to 255 with 128
        for none, and its length, 0 to 20 pixels as 0 to 255.

    Raises:
        ModuleNotFoundError: OpenCV is not installed; how to get it.
    """
    try:
        import cv2
    except ModuleNotFoundError as error:  # pragma: no cover - depends on the installation
        raise ModuleNotFoundError(
            "optical flow needs OpenCV, which is not installed: pip install 'inforeg-lightning"
            "[data]' (or opencv-python-headless)",
            name="cv2",
        ) from error
    cv2.setNumThreads(1)  # the caller has a process for each core
    grey = [cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in (frame, following)]
    none = np.zeros((*frame.shape[:2], 2), np.float32)
    motion = cv2.calcOpticalFlowFarneback(
        grey[0], grey[1], none, pyr_scale=0.5, levels=3, winsize=15, iterations=3, poly_n=5,
        poly_sigma=1.2, flags=0,
    )  # fmt: skip
    length = np.linalg.norm(motion, axis=2, keepdims=True) / MOST
    scaled = np.concatenate([(motion / MOST + 1) / 2 * 255 + 0.5, length * 255], axis=2)
    found: NDArray[np.uint8] = np.clip(scaled, 0, 255).astype(np.uint8)
    return found
