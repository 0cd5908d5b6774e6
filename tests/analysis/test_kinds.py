"""The example that asks whether a space jumps between kinds, on a space that does."""

import re
import runpy
from pathlib import Path

import torch
from generators import Clusters, Planted
from world import PLACES, phi, render

from analysis.experiment.ruler import Ruler
from analysis.experiment.subject import Subject
from analysis.features.factors import Factors
from datamodules.base import Factor, FactorKind, Role

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "kinds.py"
FACTORS = (
    Factor("corner", FactorKind.CATEGORICAL, 2, Role.CONTENT),
    *(Factor(axis, FactorKind.CONTINUOUS, 0, Role.STRUCTURE) for axis in "xy"),
)


def places_of(corner, inside):
    return 0.2 * inside + 0.8 * corner


def drawn(factors):
    return ((render(places_of(factors[:, :1], factors[:, 1:])) + 1) * 127.5).to(torch.uint8)


class Glide(Planted):
    """The same corners, and every place between them: what lies halfway is of neither."""

    def image(self, z, u):
        return render(places_of(((z[:, :1] - 0.4) / 0.2).clamp(0, 1), z))


def compared(model, capsys):
    """Mean continuity within a corner and to the other one, and the share of the latter's middles in the data."""
    factors = torch.cat([(PLACES[:, :1] > 0.5).float(), PLACES], dim=1)
    images = render(places_of(factors[:, :1], factors[:, 1:]))
    subject = Subject(model, images, Factors(factors, FACTORS, drawn), 512, 0, None)
    found = runpy.run_path(str(EXAMPLE))["compare"](subject, Ruler(subject, phi, "phi"), "z", "corner")
    *_, middle = re.findall(r"([\d.]+) in the middle", capsys.readouterr().out)
    return found["within one corner"], found["to another corner"], float(middle)


def test_a_space_of_two_corners_is_smooth_within_each_jumps_between_them_and_stays_in_the_data(capsys):
    within, between, middle = compared(Clusters(), capsys)
    assert within > 0.8
    assert between < 0.2
    assert middle > 0.9


def test_a_space_that_leads_from_one_to_the_other_leaves_the_data(capsys):
    within, between, middle = compared(Glide(), capsys)
    assert within > 0.8
    assert between > 0.3
    assert middle < 0.6
