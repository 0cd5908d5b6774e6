"""Does a space jump between kinds? ``python docs/examples/kinds.py runs/standard/cells/gan-shapes-b16-s0 z``.

Walks whose two ends are of one kind, as φ reads it, beside walks from one kind to another: how continuous they are, in
units of what true factor paths reach, and how many of their images, at the ends and in the middle, are in-distribution.
"""

import sys
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir

from analysis.cells.trained import Trained
from analysis.experiment.injection import Injection, inject, towards
from analysis.experiment.ruler import Ruler
from analysis.experiment.subject import Subject
from analysis.measure import CONFIGS
from analysis.metrics.calibration import bootstrap
from analysis.metrics.paths import STEPS, path_shape
from analysis.smoothness import MIDDLE

WALKS = 256


def compare(subject: Subject, ruler: Ruler, place: str, kind: str) -> dict[str, float]:
    """Print both sorts of walks, where there are any; give the means of their continuity."""
    population = subject.populations[place]
    plan = [Injection((population.place,), towards(step / STEPS)) for step in range(1, STEPS + 1)]
    images = inject(subject.model, population.pairs.part(0, WALKS), plan, place)
    walks = torch.cat([images[:, :1], images[:, 2:]], dim=1)
    features = ruler.features(walks.flatten(0, 1))
    inside = ruler.support.inside(features).reshape(walks.shape[:2])
    features = features.reshape(*walks.shape[:2], -1)
    continuity = path_shape(features)["continuity"] / ruler.smoothest["continuity"].mean()
    known = [factor.name for factor in ruler.readout.factors].index(kind)
    start, end = (ruler.readout.read(features[:, at])[known][:, 0] for at in (0, -1))
    found = {}
    for label, chosen in ((f"within one {kind}", start == end), (f"to another {kind}", start != end)):
        if not chosen.any():
            continue
        low, high = bootstrap(lambda x: x.mean(axis=-1), continuity[chosen], subject.seed)
        ends, middle = inside[chosen][:, [0, -1]].mean(), inside[chosen][:, MIDDLE].mean()
        found[label] = float(continuity[chosen].mean())
        print(f"{place}, {label}: {chosen.sum()} walks, continuity {found[label]:.2f} [{low:.2f}, {high:.2f}],")
        print(f"  in-distribution {ends:.2f} at the ends, {middle:.2f} in the middle")
    return found


def main(run: str, place: str, *settings: str) -> None:
    """Walks of one place of a trained model whose data have the factor ``shape``."""
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        trained = Trained(compose("measure", [f"run={run}", *settings]), Path(run))
    subject = Subject(trained.model, trained.real.images, trained.real.factors, 2 * WALKS, trained.seed, trained.twin)
    name, phi = next(iter(trained.real.phis.items()))
    compare(subject, Ruler(subject, phi, name), place, "shape")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
