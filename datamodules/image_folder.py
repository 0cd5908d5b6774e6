"""The user's own images: a folder of pictures, with optional tables of captions and factors."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datamodules.collection import Collection
from datamodules.errors import InputError, listed
from datamodules.folder import SPLIT_OF, find, layout
from datamodules.metadata import HERE, Table, read_tables


class ImageFolder(Collection):
    """Images of a folder and its subfolders.

    Without a table, the first level of subfolders at which images part becomes the factor ``class``. With some
    (``metadata.csv``, ``.jsonl`` or ``.parquet``, each naming images relative to where it lies) the images are those of
    the column ``file`` or ``file_name``; the column ``caption`` or ``text`` gives captions and every other column a
    factor: texts are classes, numbers are scaled to [0, 1]. Columns without a name, or of identifiers, are none.

    Subfolders ``train``, ``val`` and ``test``, or a column ``split``, are the splits.

    Args:
        folder: The folder.
        cache_dir: See :class:`Collection`.
        image_size: See :class:`Collection`.
        channels: See :class:`Collection`.
        roles: See :class:`Collection`.
        batch_size: See :class:`ImageDataModule`.
        budget_images: See :class:`ImageDataModule`.
        epoch_images: See :class:`ImageDataModule`.
        split: See :class:`ImageDataModule`.
        seed: See :class:`ImageDataModule`.

    Raises:
        InputError: The folder or its tables are not as they should be; see :class:`Collection` too.
    """

    def __init__(
        self,
        *,
        folder: str | Path | None,
        image_size: int | None,
        batch_size: int,
        budget_images: int,
        epoch_images: int,
        cache_dir: str | Path = ".cache",
        channels: int = 3,
        roles: Mapping[str, str] | None = None,
        split: Sequence[float] = (0.8, 0.1, 0.1),
        seed: int = 0,
    ) -> None:
        if folder is None:
            raise InputError("data.folder is not set: give the path of a folder of images with data.folder=<directory>")
        self.folder = Path(folder).expanduser()
        self.found = find(self.folder)
        if self.found.tables:
            table = read_tables(self.folder, self.found.tables, self.found.images)
            self.laid = layout(self.folder, table.files)
        else:
            self.laid = layout(self.folder, self.found.images)
            named = self.laid.classes
            captions = [""] * len(self.found.images) if named is None else [f"a photo of {name}" for name in named]
            table = Table(
                f"{HERE}{self.folder}", self.found.images, captions, {} if named is None else {"class": named}, []
            )
        super().__init__(
            where=f"data.folder={self.folder}",
            table=table,
            given=self._given_splits(table),
            cache_dir=cache_dir,
            image_size=image_size,
            channels=channels,
            roles=roles,
            batch_size=batch_size,
            budget_images=budget_images,
            epoch_images=epoch_images,
            split=split,
            seed=seed,
        )

    def _given_splits(self, table: Table) -> list[str] | None:
        """The split of each image, where subfolders or a column, which is taken out of the table, say it."""
        for name in [name for name in table.columns if name.lower() == "split"]:
            written = [SPLIT_OF.get(str(cell).strip().lower(), "") for cell in table.columns[name]]
            if "train" in written and "" not in written:
                del table.columns[name]
                return written
        return self.laid.splits

    def content(self, number: int) -> Path:
        """See :meth:`Collection.content`."""
        return self.folder / self.files[number]

    def stamps(self) -> Sequence[Any]:
        """See :meth:`Collection.stamps`."""
        found = [(self.folder / file).stat() for file in self.files]
        return [(stat.st_size, stat.st_mtime_ns) for stat in found]

    def told(self) -> str:
        """See :meth:`Collection.told`."""
        aside = []
        if self.laid.strays and not self.found.tables:
            beside = f"as images lie beside them ({listed(self.laid.strays)})"
            aside.append(f"subfolders are no classes, {beside}; what lies in either is taken")
        if unnamed := sorted(set(self.found.images) - set(self.files)):
            aside.append(f"left out as no table names them: {listed(unnamed)}")
        aside += [f"passed over, {reason}: {listed(paths)}" for reason, paths in self.found.passed_over.items()]
        return "; ".join([super().told(), *aside])
