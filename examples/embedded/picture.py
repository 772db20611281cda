"""Draws a line of text, 192 × 48 pixels, upright or upside down: as C for the model (float32 [1, 3, 48, 192], −1 to 1), or as a PPM
file."""

from __future__ import annotations

import argparse
import sys

import numpy as np
from PIL import Image, ImageDraw, ImageFont


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text")
    parser.add_argument("direction", choices=("upright", "turned"))
    parser.add_argument("--ppm", action="store_true", help="a picture, not C")
    options = parser.parse_args()
    picture = Image.new("RGB", (192, 48), "white")
    ImageDraw.Draw(picture).text((6, 6), options.text, fill="black", font=ImageFont.load_default(30))
    if options.direction == "turned":
        picture = picture.rotate(180)
    if options.ppm:
        picture.save(sys.stdout.buffer, "PPM")
        return
    x = np.asarray(picture, np.float32).transpose(2, 0, 1) / 127.5 - 1
    print(
        f"static const float input_x[{x.size}] = "
        f"{{{','.join(f'{v:.8g}f' if '.' in f'{v:.8g}' else f'{v:.8g}.0f' for v in x.reshape(-1))}}};"
    )


if __name__ == "__main__":
    main()
