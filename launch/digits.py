"""Write scikit-learn's 1,797 handwritten digits as folders of JPEG files, one a class: data that every machine has.

usage: python launch/digits.py DIRECTORY

DIRECTORY/train gets 1,437 of them and DIRECTORY/validation every fifth, 360, which training never sees.
They are the test set of Alpaydin and Kaynak's "Optical Recognition of Handwritten Digits" (UCI, 1998): 8×8 pixels, 17 grays.
"""

import sys
from pathlib import Path

from PIL import Image, ImageOps
from sklearn.datasets import load_digits

SIDE = 56  # pixels: smooth enough that JPEG does no harm
BORDER = 12  # evaluation looks at the central 87.5 % of an image, and the digit must lie well within that
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def main(directory: Path) -> None:
    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        split = "validation" if number % 5 == 0 else "train"
        folder = directory / split / NAMES[label]
        folder.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray((pixels * (255 / 16)).astype("uint8"))
        large = small.resize((SIDE, SIDE), Image.Resampling.BICUBIC).convert("RGB")
        ImageOps.expand(large, BORDER).save(folder / f"{number:04d}.jpg", quality=95)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python launch/digits.py DIRECTORY")
    main(Path(sys.argv[1]))
