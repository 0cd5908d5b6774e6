"""What a figure stands against: the size of the bottleneck, or the levels of a setting that a grid varies.

An axis knows where on it a training lies and which trainings are of one model, how curves are tested along it, and in
which words that is told. Sizes are ordered: a curve rises or falls. Levels are not: one differs from the others.
"""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from analysis.metrics.calibration import SIGNIFICANT, holm, over_trainings
from analysis.metrics.difference import difference
from analysis.metrics.trend import trend

CURVE = ["model", "candidate", "measure"]
"""What tells a curve from others."""

EQUAL = 1e-6
"""Values that differ by less are the same but for rounding."""

Row = Mapping[Any, Any]


@dataclass(frozen=True)
class Words:
    """Sentences about what lies along an axis, with braces for curves, or for what the least certain test of them says.

    Attributes:
        label: What stands beneath a panel.
        rises: What is sure.
        falls: The same, the other way.
        unsure: What can be said neither of.
        powerless: What could not be sure with so few trainings.
        few: What was tried at too few places.
        steady: What is the same everywhere.
    """

    label: str
    rises: str
    falls: str
    unsure: str
    powerless: str
    few: str
    steady: str


class Axis(ABC):
    """What the trainings of a figure differ in.

    Attributes:
        ordered: Whether a line may join its places.
        column: Of the points, where on it they lie.
        tested: What its tests are called.
        effect: Column of the tests whose sign is the direction.
        fewest: Places, tried with one seed, without which nothing is tested.
        name: Of the setting.
    """

    ordered: ClassVar[bool]
    column: ClassVar[str]
    tested: ClassVar[str]
    effect: ClassVar[str]
    fewest: ClassVar[int]
    name: str

    @property
    @abstractmethod
    def words(self) -> Words:
        """In which it is told of, but for numbers."""

    @abstractmethod
    def placed(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows of cells that lie on it, with :attr:`column` and ``model``: a cell's name without place and seed."""

    @abstractmethod
    def order(self, found: pd.DataFrame) -> list[Any]:
        """The places of points, from left to right."""

    @abstractmethod
    def tests(self, found: pd.DataFrame) -> pd.DataFrame:
        """What is to be judged of points, with p-values by Holm over all of them.

        Args:
            found: As :func:`analysis.curves.points` gives them.

        Returns:
            With the columns :data:`CURVE`, ``seeds``, ``steady``, :attr:`effect`, ``p_value``, ``p_adjusted``,
            ``least`` and more. A ``steady`` curve has the same value everywhere and is not tested: NaN, as where fewer
            than :attr:`fewest` places were tried with one seed. ``least`` is what ``p_adjusted`` would be if this were
            the only one to be as clear as can be.
        """

    def tried(self, own: pd.DataFrame) -> tuple[int, bool]:
        """Of a curve the largest number of places that were tried with one seed, and whether it is ``steady``."""
        places = int(own.groupby("seed")[self.column].nunique().max())
        return places, places >= self.fewest and bool(np.ptp(own["value"]) < EQUAL)

    @abstractmethod
    def clear(self, test: Row, points: Sequence[Row]) -> str:
        """Of what is sure; ``points`` are the means of its curve, from left to right."""

    @abstractmethod
    def unclear(self, test: Row) -> str:
        """Of what is not sure."""


class Sizes(Axis):
    """Of the bottleneck. A curve is tested by Kendall's τ, of pairs of trainings of the same seed."""

    ordered, column, tested, effect, fewest = True, "bottleneck", "trends", "tau", 3
    name = "bottleneck"

    @property
    def words(self) -> Words:
        """Of what rises and falls."""
        return Words(
            label="values in the bottleneck",
            rises="Rises with the bottleneck: {}.",
            falls="Falls with the bottleneck: {}.",
            unsure="Neither can be said of {}: this does not say that size makes no difference.",
            powerless="Too few trainings to say either of {}: more sizes or seeds are needed, "
            "however clear a trend is.",
            few=f"With no seed {self.fewest} sizes were tried of {{}}.",
            steady="The same in every training, whatever the size: {}.",
        )

    def placed(self, rows: pd.DataFrame) -> pd.DataFrame:
        """All rows."""
        ends = [f"-b{b}-s{s}" for b, s in zip(rows["bottleneck"], rows["seed"], strict=True)]
        return rows.assign(model=[str(cell).removesuffix(end) for cell, end in zip(rows["cell"], ends, strict=True)])

    def order(self, found: pd.DataFrame) -> list[Any]:
        """From the smallest up."""
        return sorted(found["bottleneck"].unique())

    def tests(self, found: pd.DataFrame) -> pd.DataFrame:
        """A row per curve, with ``sizes``: the largest number that was tried with one seed."""
        lines = []
        for key, own in found.groupby(CURVE, sort=False):
            sizes, steady = self.tried(own)
            tested = trend([(part["bottleneck"], part["value"]) for _seed, part in own.groupby("seed")])
            known = sizes >= self.fewest and not steady
            numbers = (tested.tau, tested.p_value, tested.least) if known else (np.nan,) * 3
            lines.append((*key, sizes, own["seed"].nunique(), steady, *numbers))
        return adjusted(pd.DataFrame(lines, columns=[*CURVE, "sizes", "seeds", "steady", "tau", "p_value", "least"]))

    def clear(self, test: Row, points: Sequence[Row]) -> str:
        """With both ends."""
        ends = " to ".join(f"{interval(point)} at {point['bottleneck']}" for point in (points[0], points[-1]))
        return f"{named(test)}, {ends} (τ {number(test['tau'])}, p {number(test['p_adjusted'])})"

    def unclear(self, test: Row) -> str:
        """With τ and p."""
        return f"{named(test)} (τ {number(test['tau'])}, p {number(test['p_adjusted'])})"


@dataclass(frozen=True)
class Levels(Axis):
    """Of a setting. Each is compared with the mean of the others, of trainings of the same seed.

    Attributes:
        name: Of the setting.
        level_of: Level of each cell that has one.
    """

    ordered, column, tested, effect, fewest = False, "level", "differences", "difference", 2
    name: str
    level_of: Mapping[str, str]

    @property
    def words(self) -> Words:
        """Of what is higher and lower."""
        return Words(
            label=self.name,
            rises=f"Higher than the mean of the other levels of {self.name}: {{}}.",
            falls=f"Lower than the mean of the other levels of {self.name}: {{}}.",
            unsure=f"No more can be said of {{}}: this does not say that {self.name} makes no difference.",
            powerless=f"Too few trainings to say that any {self.name} differs: {{}}. However clear a difference is, "
            "p cannot be less than {least:.2f}; {enough} seeds would do.",
            few=f"With no seed {self.fewest} levels of {self.name} were tried of {{}}.",
            steady=f"The same in every training, whatever {self.name}: {{}}.",
        )

    def placed(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Those of cells that have a level."""
        own = rows[rows["cell"].isin(list(self.level_of))]
        levels = [self.level_of[cell] for cell in own["cell"]]
        models = [
            cell.replace(f"-{self.name}{level}", "", 1).removesuffix(f"-s{seed}")
            for cell, level, seed in zip(own["cell"], levels, own["seed"], strict=True)
        ]
        return own.assign(model=models, level=levels)

    def order(self, found: pd.DataFrame) -> list[Any]:
        """Words first, then lists, by the numbers in them."""

        def key(level: str) -> tuple[bool, list[int], str]:
            return level.startswith("["), [int(digits) for digits in re.findall(r"\d+", level)], level

        return sorted(found["level"].unique(), key=key)

    def tests(self, found: pd.DataFrame) -> pd.DataFrame:
        """A row per curve and level, with the interval ``low`` to ``high`` over trainings of the ``difference``.

        ``levels`` is the largest number that was tried with one seed, ``enough`` how many seeds of as many levels it
        takes for a difference to be sure where all others are tested as well.
        """
        lines = []
        for key, own in found.groupby(CURVE, sort=False):
            levels, steady = self.tried(own)
            own = own.assign(half=(own["high"] - own["low"]) / 2)
            values, halves = (own.pivot_table(name, "seed", "level", dropna=False) for name in ("value", "half"))
            for level in self.order(own):
                numbers = [np.nan] * 5
                if levels >= self.fewest and not steady:
                    others = values.drop(columns=level).to_numpy()
                    tested = difference(list(zip(values[level], others, strict=True)))
                    numbers = [*_spread(values, halves, level), tested.p_value, tested.least]
                lines.append((*key, level, levels, own["seed"].nunique(), steady, *numbers))
        columns = [*CURVE, "level", "levels", "seeds", "steady", "difference", "low", "high", "p_value", "least"]
        made = adjusted(pd.DataFrame(lines, columns=columns))
        return made.assign(enough=[_enough(levels, int(made["p_value"].notna().sum())) for levels in made["levels"]])

    def clear(self, test: Row, points: Sequence[Row]) -> str:
        """With the mean at the level."""
        (own,) = (point for point in points if point["level"] == test["level"])
        return f"{named(test)} with {test['level']}, {interval(own)}, by {self._by(test)}"

    def unclear(self, test: Row) -> str:
        """With the difference."""
        return f"{named(test)}, clearest with {test['level']}, by {self._by(test)}"

    def _by(self, test: Row) -> str:
        return f"{interval({**test, 'value': test['difference']})} (p {number(test['p_adjusted'])})"


def _spread(values: pd.DataFrame, halves: pd.DataFrame, level: str) -> tuple[float, float, float]:
    """Mean difference of ``level`` from the others over trainings, and its interval; NaN where there is none.

    The intervals of the values, (seeds, levels) like their halves, are taken as those of independent measurements.
    """
    others, of_others = values.drop(columns=level), halves.drop(columns=level)
    away = values[level] - others.mean(axis=1)
    known = away.notna()
    if not known.any():
        return math.nan, math.nan, math.nan
    variance = halves[level] ** 2 + (of_others**2).sum(axis=1) / others.count(axis=1) ** 2
    middle, half = away[known].to_numpy(), np.sqrt(variance[known].to_numpy())
    return over_trainings(middle, middle - half, middle + half)


def _enough(levels: int, tests: int) -> int:
    """Fewest seeds of so many levels of which the least p-value, times the tests, is significant."""
    ways = tests * (2 if levels == 2 else 1) / SIGNIFICANT
    return math.floor(math.log(ways, levels)) + 1 if levels > 1 and tests else 0


def adjusted(tests: pd.DataFrame) -> pd.DataFrame:
    """Tests with p-values by Holm over all of them, and the least that these could be."""
    p_values = holm(tests["p_value"].to_numpy(dtype=np.float64))
    return tests.assign(p_adjusted=p_values, least=(tests["least"] * tests["least"].notna().sum()).clip(upper=1))


def named(test: Row) -> str:
    """A curve as sentences have it."""
    of = f" of {test['candidate']}" if test["candidate"] else ""
    return f"{test['measure']}{of} ({test['model']})"


def interval(point: Row) -> str:
    """A value with its ends."""
    return f"{number(point['value'])} [{number(point['low'])}, {number(point['high'])}]"


def number(value: float) -> str:
    """Of two decimals, or of two digits where it is smaller."""
    return f"{value:.2f}" if abs(value) >= 0.095 or value == 0 else f"{value:.2g}"


def varied_levels(configs: Mapping[str, Mapping[str, Any]]) -> list[Levels]:
    """The settings that cells were given several levels of by their grid, but for those that are numbers.

    Args:
        configs: What each cell keeps of its configuration, by its name; ``varied`` is how its name tells it apart.
    """
    found: dict[str, dict[str, str]] = {}
    for cell, config in configs.items():
        # A setting's name may begin as another one's does.
        names = "|".join(map(re.escape, sorted(set(_names(config)), key=len, reverse=True)))
        for name, level in re.findall(rf"-({names})(.*?)(?=-(?:{names})|$)", str(config.get("varied", ""))):
            found.setdefault(name, {})[cell] = level
    several = {name: level_of for name, level_of in found.items() if len(set(level_of.values())) > 1}
    return [Levels(name, of) for name, of in several.items() if not all(map(_is_number, of.values()))]


def _names(config: Mapping[str, Any]) -> Iterator[str]:
    for name, value in config.items():
        yield name
        if isinstance(value, Mapping):
            yield from _names(value)


def _is_number(level: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", level, re.IGNORECASE) is not None
