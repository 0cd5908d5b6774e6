"""Make the documentation's pictures of the three models anew: ``python docs/pictures.py runs/standard``."""

import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image

DOCS = Path(__file__).resolve().parent
GAP = 8
"""White between two grids, in pixels."""


def beside(files: list[Path], to: Path) -> None:
    """Pictures of one height side by side."""
    pictures = [Image.open(file).convert("RGB") for file in files]
    width = sum(picture.width + GAP for picture in pictures) - GAP
    whole = Image.new("RGB", (width, pictures[0].height), "white")
    left = 0
    for picture in pictures:
        whole.paste(picture, (left, 0))
        left += picture.width + GAP
    whole.save(to, optimize=True)


def page(study: Path, to: Path) -> None:
    """The head of a study's page, as Debian's Chromium draws it."""
    chromium = ["chromium", "--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1100,960"]
    address = (study / "report" / "index.html").resolve().as_uri()
    subprocess.run([*chromium, f"--screenshot={to}", address], check=True, capture_output=True)
    Image.open(to).convert("RGB").save(to, optimize=True)


def main(study: Path) -> None:
    """Samples side by side, contact sheets, the page, and the rows behind all of them."""
    cells = {name: next(study.glob(f"cells/{name}-*")) / "figures" for name in ("vae", "gan", "diffusion")}
    samples = [figures / "samples.png" for figures in cells.values()]
    beside([cells["vae"] / "real.png", *samples], DOCS / "samples.png")
    for name, figures in cells.items():
        shutil.copyfile(figures / "contact.png", DOCS / f"contact-{name}.png")
    page(study, DOCS / "page.png")
    for name, kept in (("verdicts.csv", "standard.csv"), ("rows.parquet", "standard.parquet")):
        shutil.copyfile(study / "report" / name, DOCS / "results" / kept)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
