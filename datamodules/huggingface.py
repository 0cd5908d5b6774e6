"""Data sets as Hugging Face's library keeps them: on disk, or on the hub when that is asked for."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datamodules.collection import Collection
from datamodules.decode import Content, UnreadableError
from datamodules.errors import InputError, listed
from datamodules.folder import SPLIT_OF
from datamodules.metadata import COLUMNS, Table

if TYPE_CHECKING:
    from datasets import Dataset

SAVED = ("dataset_dict.json", "state.json")
"""What ``save_to_disk`` leaves, of a data set with splits and of one without."""

QUANTITY = ("int", "uint", "float", "bool", "decimal")
"""How the types begin whose columns are factors unless something else is said."""


class HuggingFace(Collection):
    """Images and columns of a data set that Hugging Face's ``datasets`` reads.

    Its splits are ours where they are called as ours are, or much alike; others are passed over. Without any such its
    images are divided as those of a folder are.

    Args:
        folder: What ``save_to_disk`` made, a directory of Parquet files, or one such file.
        hub: Instead of it, the name of a data set on the hub, as ``owner/name``.
        subset: Which of its configurations, where it has several.
        download: Whether the hub may be asked.
        image: The column of images; ``None`` for the only one.
        caption: The column of captions; ``None`` for ``caption`` or ``text``, if there is one.
        labels: The columns that are factors; ``None`` for class labels, numbers and truth values.
        cache_dir: See :class:`Collection`; of Parquet files the library keeps another copy there.
        image_size: See :class:`Collection`.
        channels: See :class:`Collection`.
        roles: See :class:`Collection`.
        batch_size: See :class:`ImageDataModule`.
        budget_images: See :class:`ImageDataModule`.
        epoch_images: See :class:`ImageDataModule`.
        split: See :class:`ImageDataModule`.
        seed: See :class:`ImageDataModule`.

    Raises:
        InputError: There is not just one of ``folder`` and ``hub``, the hub may not be asked, the library is not
            installed or cannot read what is given, or a column is not there; see :class:`Collection` too.
    """

    def __init__(
        self,
        *,
        folder: str | Path | None,
        image_size: int | None,
        batch_size: int,
        budget_images: int,
        epoch_images: int,
        hub: str | None = None,
        subset: str | None = None,
        download: bool = False,
        image: str | None = None,
        caption: str | None = None,
        labels: Sequence[str] | None = None,
        cache_dir: str | Path = ".cache",
        channels: int = 3,
        roles: Mapping[str, str] | None = None,
        split: Sequence[float] = (0.8, 0.1, 0.1),
        seed: int = 0,
    ) -> None:
        kept = Path(cache_dir).expanduser() / "huggingface"
        if folder is not None and hub is None:
            self.folder: Path | None = Path(folder).expanduser()
            where, found = f"data.folder={self.folder}", _read(self.folder, kept)
        elif hub is not None and folder is None:
            self.folder = None
            where, found = f"data.hub={hub}", _ask(hub, subset, download, kept)
        else:
            raise InputError(
                f"data.folder={folder} and data.hub={hub}: give one of them, a directory or Parquet file with "
                "data.folder=<path>, or the name of a data set on the hub with data.hub=<owner/name> data.download=true"
            )
        taken = {name: part for name, part in found.items() if name.lower() in SPLIT_OF}
        given = [SPLIT_OF[name.lower()] for name, part in taken.items() for _ in range(len(part))]
        self.passed_over = sorted(found.keys() - taken.keys()) if taken else []
        parts = taken or found
        self.image = _column_of_images(where, next(iter(parts.values())), image)
        self.pictures = _undecoded(where, list(parts.values()), self.image)
        self.origin = [subset, self.image, *(file["filename"] for part in parts.values() for file in part.cache_files)]
        table, self.no_labels = _table(where, parts, self.image, caption, labels)
        super().__init__(
            where=where,
            table=table,
            given=given or None,
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

    def content(self, number: int) -> Content:
        """See :meth:`Collection.content`."""
        found = self.pictures[number][self.image] or {}
        if found.get("bytes"):
            return BytesIO(found["bytes"])
        if found.get("path"):
            return Path(found["path"])
        raise UnreadableError("has no image")

    def stamps(self) -> Sequence[Any]:
        """See :meth:`Collection.stamps`."""
        found = [Path(file).stat() for file in self.origin[2:]]
        return [*self.origin, *((stat.st_size, stat.st_mtime_ns) for stat in found)]

    def told(self) -> str:
        """See :meth:`Collection.told`."""
        aside = [f"column {name!r} is no factor ({reason})" for name, reason in self.no_labels.items()]
        if self.passed_over:
            aside.append(f"passed over, no split that is known: {listed(self.passed_over)}")
        return "; ".join([super().told(), *aside])


def _library() -> Any:
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise InputError(f"data=huggingface needs {error.name}: pip install '.[huggingface]'") from error
    return datasets


def _read(folder: Path, kept: Path) -> dict[str, "Dataset"]:
    """By split, what lies at a path; ``train`` where nothing is said of splits.

    Raises:
        InputError: Nothing that can be read.
    """
    datasets = _library()
    saved = any((folder / name).is_file() for name in SAVED)
    files = [folder] if folder.is_file() else sorted(folder.rglob("*.parquet"))
    if not saved and (not files or files[0].suffix.lower() != ".parquet"):
        raise InputError(
            f"data.folder={folder} is neither a directory of save_to_disk or of Parquet files, nor a Parquet file: "
            "give the path of one; a folder of pictures is data=image_folder"
        )
    # Read as what it is: the library's own guess would read other formats too, and ask the hub for a path not there.
    given = {"data_files": str(folder)} if folder.is_file() else {"data_dir": str(folder)}
    try:
        if saved:
            found = datasets.load_from_disk(str(folder))
        else:
            found = datasets.load_dataset("parquet", cache_dir=str(kept), **given)
    except Exception as error:  # Damage has as many exceptions as there are formats.
        raise InputError(f"data.folder={folder} cannot be read: write it anew: {_told(error)}") from error
    return dict(found) if isinstance(found, datasets.DatasetDict) else {"train": found}


def _ask(hub: str, subset: str | None, download: bool, kept: Path) -> dict[str, "Dataset"]:
    """By split, a data set of the hub, from ``kept`` if it is there.

    Raises:
        InputError: It may not be asked, or does not give it.
    """
    if not download:
        raise InputError(f"data.hub={hub} is on Hugging Face's hub: set data.download=true to fetch it from there")
    try:
        return dict(_library().load_dataset(hub, subset, cache_dir=str(kept)))
    except InputError:
        raise
    except Exception as error:  # The hub, the connection to it, and every format of data have their own.
        raise InputError(
            f"data.hub={hub} data.subset={subset} cannot be had: correct the name, choose one of its configurations "
            f"with data.subset=<name>, or see to the connection: {_told(error)}"
        ) from error


def _told(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _column_of_images(where: str, part: "Dataset", asked: str | None) -> str:
    there = [name for name, feature in part.features.items() if isinstance(feature, _library().Image)]
    if asked is not None and asked not in part.features:
        raise InputError(f"data.image={asked}: {where} has no such column but {listed(list(part.features))}")
    if asked is None and len(there) != 1:
        raise InputError(
            f"{where} has {len(there)} columns of images, its columns are {listed(list(part.features))}: name the one "
            "that is meant with data.image=<column>"
        )
    return asked or there[0]


def _undecoded(where: str, parts: Sequence["Dataset"], image: str) -> "Dataset":
    """The images of all parts, each as ``bytes`` and ``path``, of which one may be ``None``.

    Raises:
        InputError: The column holds none.
    """
    datasets = _library()
    try:
        return datasets.concatenate_datasets(
            [part.select_columns([image]).cast_column(image, datasets.Image(decode=False)) for part in parts]
        )
    except Exception as error:  # Arrow's, of which there are several.
        raise InputError(
            f"data.image={image}: {where} holds no images there: name the column that does: {_told(error)}"
        ) from error


def _table(
    where: str, parts: Mapping[str, "Dataset"], image: str, caption: str | None, labels: Sequence[str] | None
) -> tuple[Table, dict[str, str]]:
    """What is said of the images, and why columns that nobody asked for are no factors.

    Raises:
        InputError: A column is not there, in one of the parts.
    """
    first = next(iter(parts.values()))
    if caption is None:
        caption = next((name for name in COLUMNS["caption"] if name in first.features), None)
    others = {name: _is_no_label(feature) for name, feature in first.features.items() if name not in (image, caption)}
    chosen = list(labels) if labels is not None else [name for name, reason in others.items() if not reason]
    for setting, names in (("caption", [caption] if caption else []), ("labels", chosen)):
        for split, part in parts.items():
            if missing := [name for name in names if name not in part.features]:
                raise InputError(
                    f"data.{setting}={','.join(names)}: {where} has no {listed(missing)} in its split {split} but "
                    f"{listed(list(part.features))}"
                )
    read = [_cells(part, chosen if caption is None else [*chosen, caption]) for part in parts.values()]
    columns = {name: [cell for cells in read for cell in cells[name]] for name in chosen}
    files = [Path(split, str(row)) for split, part in parts.items() for row in range(len(part))]
    captions = [""] * len(files)
    if caption is not None:
        captions = ["" if cell is None else str(cell) for cells in read for cell in cells[caption]]
    places = [f"row {row} of {split}" for split, part in parts.items() for row in range(len(part))]
    table = Table(where, files, captions, columns, places, "choose others with data.labels=[<columns>]")
    return table, {name: reason for name, reason in others.items() if reason and name not in chosen}


def _is_no_label(feature: Any) -> str:
    """Why a column is no factor unless it is asked for; empty if it is one."""
    datasets = _library()
    if isinstance(feature, datasets.ClassLabel):
        return ""
    kind = feature.dtype if isinstance(feature, datasets.Value) else type(feature).__name__.lower()
    return "" if kind.startswith(QUANTITY) else f"{kind}; data.labels names those that are"


def _cells(part: "Dataset", names: Sequence[str]) -> dict[str, list[Any]]:
    """The columns with class labels by name, ``None`` where nothing is said."""
    found: dict[str, list[Any]] = part.select_columns(list(names)).with_format(None)[:] if names else {}
    for name, cells in found.items():
        if isinstance(feature := part.features[name], _library().ClassLabel):
            # The library's -1 says that nobody knows.
            found[name] = [None if cell is None or cell < 0 else feature.int2str(cell) for cell in cells]
    return found
