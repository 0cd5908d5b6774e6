"""Many images as one picture."""

from pathlib import Path

from PIL.Image import Image
from torch import Tensor
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid


def save_grid(images: Tensor, path: Path, columns: int = 8, padding: int = 2) -> Image:
    """Write images (N, C, H, W) in [-1, 1] as one PNG of ``columns`` images a line, and return it as uint8 picture.

    Args:
        images: The images, row by row.
        path: The file; its directory is made.
        columns: Images in a line.
        padding: Pixels between two images.
    """
    grid = make_grid(images.float().cpu(), nrow=columns, padding=padding, normalize=True, value_range=(-1, 1))
    picture: Image = to_pil_image(grid)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    return picture
