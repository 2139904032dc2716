"""A normalising flow on two moons: an exact density, held against a mixture of Gaussians.

    python examples/05_flow_two_moons.py [FOLDER] [--quick]

Writes two_moons.png, and the figures as two_moons.json, into FOLDER (default: runs).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.mixture import GaussianMixture

import ppzoo

QUICK = "--quick" in sys.argv[1:]
folder = Path(next((word for word in sys.argv[1:] if not word.startswith("-")), "runs"))
folder.mkdir(parents=True, exist_ok=True)

moons = ppzoo.load_dataset("two_moons", seed=0)
train, test = (moons.split(name).data["x"] for name in ("train", "test"))

# 1. A flow bends a standard normal into the shape of the data, by steps that can be undone and whose change of volume
# is known: so the density of a point is exact, and a sample costs one pass. As a Pyro program it is one observed site
# with this density and no latent one; its guide is empty, the ELBO *is* the log likelihood, and SVI is maximum
# likelihood. A thousand steps more would fit the 1,600 rows better, and lose a few held-out ones altogether.

model = ppzoo.create_model("realnvp", features=2, seed=0)
fit = ppzoo.fit(model, train, method="svi", steps=100 if QUICK else 1500, batch_size=256, lr=2e-3, seed=0)
print(fit.diagnose())

# 2. Nats per held-out row, larger is better: the yardstick of every density. The difference is taken row by row, so
# that its error is that of the comparison and not that of the data.

mixture = GaussianMixture(2, covariance_type="full", random_state=0).fit(train)
nats = {"flow": fit.log_prob(test).numpy(force=True), "mixture": mixture.score_samples(test)}
nats["gain"] = nats["flow"] - nats["mixture"]
figures = {name: float(values.mean()) for name, values in nats.items()}
figures |= {f"{name}_se": float(values.std() / len(values) ** 0.5) for name, values in nats.items()}
print(f"held-out nats per row: flow {figures['flow']:.3f}, mixture of two {figures['mixture']:.3f}")
print(f"the flow gains {figures['gain']:.3f} ± {figures['gain_se']:.3f}")
document = {**figures, "rows": len(test), "settings": repr(fit.method), "seed": 0}
(folder / "two_moons.json").write_text(json.dumps(document, indent=1), encoding="utf-8")

# 3. The density on a grid, by `log_prob`, and draws by `sample`.

at = np.linspace(-1.5, 2.5, 161), np.linspace(-1.0, 1.5, 101)
grid = np.stack(np.meshgrid(*at), axis=-1)
density = fit.log_prob(grid.reshape(-1, 2)).exp().numpy(force=True).reshape(grid.shape[:2])
draws = fit.sample(1000).numpy(force=True)

figure = Figure(figsize=(7, 1.9), layout="constrained")
left, middle, right = figure.subplots(1, 3)
left.scatter(*test.T, s=3, alpha=0.5, color="#0072B2", linewidths=0)
middle.pcolormesh(*at, density, cmap="Blues", rasterized=True)
right.scatter(*draws.T, s=3, alpha=0.5, color="#0072B2", linewidths=0)
for axes, name in ((left, "held-out rows"), (middle, "density of the flow"), (right, "draws of the flow")):
    axes.set_title(name, fontsize=9)
    axes.set(xlim=at[0][[0, -1]], ylim=at[1][[0, -1]], aspect="equal", xticks=[], yticks=[])
figure.savefig(folder / "two_moons.png", dpi=110)
print(f"wrote {folder / 'two_moons.png'}")
