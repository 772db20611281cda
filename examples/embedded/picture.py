"""Draws a line of text, upright or upside down, and writes it as the model wants it: float32 [1, 3, 48, 192], −1 to 1."""

from __future__ import annotations

import sys

import numpy as np
from PIL import Image, ImageDraw, ImageFont


def main() -> None:
    text, turned = sys.argv[1], len(sys.argv) > 2 and sys.argv[2] == "turned"
    picture = Image.new("RGB", (192, 48), "white")
    ImageDraw.Draw(picture).text((6, 6), text, fill="black", font=ImageFont.load_default(30))
    if turned:
        picture = picture.rotate(180)
    x = np.asarray(picture, np.float32).transpose(2, 0, 1) / 127.5 - 1
    print(
        f"static const float input_x[{x.size}] = {{{','.join(f'{v:.8g}f' if '.' in f'{v:.8g}' else f'{v:.8g}.0f' for v in x.reshape(-1))}}};"
    )


if __name__ == "__main__":
    main()
