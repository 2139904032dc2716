"""A variational autoencoder on handwritten digits: reconstructions, samples, and an honest number.

    python examples/04_vae_digits.py [FOLDER] [--quick]

Writes vae_digits.png, and the figures as vae_digits.json, into FOLDER (default: runs). About half a minute on one core.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

import ppzoo
from ppzoo.diagnostics.codes import diagnose_codes

QUICK = "--quick" in sys.argv[1:]
folder = Path(next((word for word in sys.argv[1:] if not word.startswith("-")), "runs"))
folder.mkdir(parents=True, exist_ok=True)

# 1. The data: 1797 digits of 8 by 8 pixels in [0, 1]. One row in five is held out, by a shuffle that the seed decides;
# the model never sees it, and everything below that is called a result is measured on it.

digits = ppzoo.load_dataset("digits", seed=0)
train, test = digits.split("train"), digits.split("test")
print(digits)

# 2. The model: a code z of 16 standard normal numbers, and a network that turns it into an image. The guide is another
# network that looks at an image and says which codes could have made it: one for all images, old and new.
#
#     z ~ N(0, I),    x | z ~ N(f(z), s^2 I),    q(z | x) = N(m(x), exp(2 v(x)))
#
# The Gaussian decoder has a learnt noise s and a true density, so its nats mean something by themselves.

model = ppzoo.create_model("vae", features=64, latents=16, hidden=(512,), decoder="gaussian", seed=0)

# 3. The fit is plain SVI in minibatches: an epoch is one pass over the training rows. The labels `y` stay out of it,
# since the model does not ask for an argument of that name.

fit = ppzoo.fit(model, train, method="svi", epochs=4 if QUICK else 150, batch_size=32, lr=1e-3, seed=0)
print(f"{fit!r}: loss {fit.losses[:20].mean():.0f} at first, {fit.losses[-20:].mean():.0f} at last (nats, all rows)")

# The learning rate matters here. Ten times this one, and most codes fall silent; or a deeper network, and the fit finds
# the cheap way out: a code that says nothing, and the mean image for everybody ("posterior collapse"). The loss then
# looks converged and the guide is the posterior, so only the codes can tell: those whose mean moves with the image are
# in use. `fit.diagnose()` counts them and rejects a fit without any; here they are counted on held-out images.

print(diagnose_codes(fit.encode(test.data["x"]).numpy(force=True)).findings[0])

# 4. How good is it? The evidence log p(x) of a held-out image is an integral over all codes that nobody can do. There
# are lower bounds of it: the ELBO with one draw of the guide, and tighter ones the more draws are averaged *inside*
# the logarithm (importance-weighted, Burda et al. 2016). The gap between the two is what the guide misses: a normal for
# each code by itself is not the posterior of a deep decoder, so read no interval off these codes.
# `fit.pair.owner` is the fitted copy of the model, whose methods take tensors.

vae = fit.pair.owner
x = torch.tensor(test.data["x"], dtype=fit.dtype)
samples = 20 if QUICK else 500
with torch.random.fork_rng():  # drawn from torch's own generator: put it back afterwards
    torch.manual_seed(0)
    elbo = torch.stack([vae.importance_weighted_bound(x, samples=1) for _ in range(20)]).mean(0)
    bound = vae.importance_weighted_bound(x, samples=samples)

figures = {}
for name, nats in (("elbo", elbo), ("bound", bound)):
    figures |= {name: nats.mean().item(), f"{name}_se": nats.std().item() / len(x) ** 0.5}
print("held out, in nats per image")
print(f"  ELBO                                {figures['elbo']:.1f} ± {figures['elbo_se']:.1f}")
print(f"  importance-weighted, {samples:3d} draws      {figures['bound']:.1f} ± {figures['bound_se']:.1f}")
figures |= {"samples": samples, "rows": len(x), "settings": repr(fit.method), "seed": 0}
(folder / "vae_digits.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")

# 5. And does it look like digits? Two rows of held-out images, each with its reconstruction (the image expected of the
# mean code), then three rows that never were: codes drawn from the prior. Those are means, f(z), without the noise s.

shown = x[:24]
with torch.random.fork_rng():
    torch.manual_seed(1)
    dreams = vae.decode(torch.randn(36, 16, dtype=fit.dtype))
again = vae.decode(fit.encode(test.data["x"][:24]))
rows = [shown[:12], again[:12], shown[12:], again[12:], *dreams.split(12)]
names = ["held out", "reconstructed", "held out", "reconstructed", "sampled", "sampled", "sampled"]
picture = np.ones((7 * 9 + 1, 12 * 9 + 1))  # of the 8 by 8 pixels of each image, with a line between
for i, row in enumerate(rows):
    for j, image in enumerate(row):
        picture[9 * i + 1 : 9 * i + 9, 9 * j + 1 : 9 * j + 9] = 1 - image.reshape(8, 8).clamp(0, 1).numpy(force=True)

figure = Figure(figsize=(7, 4.4), layout="constrained")
axes = figure.add_subplot()
axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
axes.set_yticks(9 * np.arange(7) + 4.5, names)
axes.set_xticks([])
figure.savefig(folder / "vae_digits.png", dpi=110)
print(f"wrote {folder / 'vae_digits.png'}")
