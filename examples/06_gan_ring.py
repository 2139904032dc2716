"""A GAN on a ring of eight Gaussians, and how many of them it covers.

    python examples/06_gan_ring.py [FOLDER] [--quick] [--three-seeds]

Writes gan_ring.png, and the figures as gan_ring.json, into FOLDER (default: runs).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from matplotlib.figure import Figure

import ppzoo

QUICK = "--quick" in sys.argv[1:]
folder = Path(next((word for word in sys.argv[1:] if not word.startswith("-")), "runs"))
folder.mkdir(parents=True, exist_ok=True)

# 1. Two networks play a game. A coin decides whether the critic is shown a row of the data or a draw of the generator,
# and it guesses which; the generator learns to be mistaken for data. There is no likelihood, so nothing to compare by
# nats, and SVI or NUTS of a GAN is an error.

ring = ppzoo.load_dataset("ring_of_gaussians", seed=0)

# 2. What can go wrong is silence: a generator that has found a few modes well fools the critic there and leaves the
# others out. So every fit counts. It finds the modes of the data by clustering, draws 10,000 rows from the generator,
# and reports how many modes got their share, and how many draws fell near any mode at all. One lucky seed says
# little: --three-seeds takes three times as long.

seeds = range(3 if "--three-seeds" in sys.argv[1:] else 1)
fits = []
for seed in seeds:
    model = ppzoo.create_model("gan", features=2, seed=seed)
    fits.append(ppzoo.fit(model, ring, method="adversarial", steps=150 if QUICK else 5000, seed=seed))
    print(f"seed {seed}", fits[-1].diagnose(), sep="\n")

# 3. The figures of each seed, good or bad. "high quality" is the share of draws near some mode; "coverage" the share of
# the data that have a draw among their nearest neighbours; a perfect generator would reach "coverage_expected". Below
# nine tenths of that the verdict is caution, below half it is reject: here all modes are found, and none is filled.

counted = ("modes", "modes_covered", "high_quality", "coverage", "coverage_expected")
runs = []
for seed, fit in zip(seeds, fits, strict=True):
    numbers = fit.diagnose().numbers
    runs.append({"seed": seed, "verdict": fit.diagnose().verdict, **{name: numbers[name] for name in counted}})
for run in runs:
    run |= {name: int(run[name]) for name in ("modes", "modes_covered")}
document = {"runs": runs, "settings": repr(fits[0].method)}
(folder / "gan_ring.json").write_text(json.dumps(document, indent=1), encoding="utf-8")

# 4. And the picture: data first, then the draws of each seed.

panels = {"data": ring.data["x"][:2000]} | {
    f"seed {run['seed']}: {run['modes_covered']} of {run['modes']} modes": fit.sample(2000).numpy(force=True)
    for run, fit in zip(runs, fits, strict=True)
}
figure = Figure(figsize=(2.1 * len(panels), 2.3), layout="constrained")
for axes, (name, rows) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
    axes.scatter(*rows.T, s=3, alpha=0.4, color="#0072B2" if name == "data" else "#D55E00", linewidths=0)
    axes.set_title(name, fontsize=9)
    axes.set(xlim=(-2.6, 2.6), ylim=(-2.6, 2.6), aspect="equal", xticks=[], yticks=[])
figure.savefig(folder / "gan_ring.png", dpi=110)
print(f"wrote {folder / 'gan_ring.png'}")
