"""One fit of a VAE, alone or in one process of a job: ``torchrun ... -m svi.divided SPEC FOLDER``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch

import ppzoo
from svi.problems import PIXELS, SHARED, digits

__all__ = ["SHARED", "main"]


def main(spec: str, folder: Path) -> None:
    """Fit as the JSON ``{"batch", "steps", "seed", "kept"}`` says; the first process leaves ``run.json``."""
    torch.set_num_threads(1)
    wanted = json.loads(spec)
    model = ppzoo.create_model("vae", features=PIXELS, latents=20, hidden=(400,))
    (folder / f"pid {os.environ.get('RANK', '0')}").write_text(str(os.getpid()), encoding="utf-8")
    fit = ppzoo.fit(
        model,
        torch.from_numpy(digits()["x"]),
        method="svi",
        batch_size=wanted["batch"],
        steps=wanted["steps"],
        seed=wanted["seed"],
        run_dir=folder / "run" if wanted["kept"] else None,
        progress=False,
    )
    seconds = fit.outcome.numbers["seconds_steps"]
    road = next(note for note in fit.notes if note.startswith("Steps"))
    found = {"step": seconds / wanted["steps"], "setup": fit.seconds - seconds, "losses": fit.losses.tolist()}
    if os.environ.get("RANK", "0") == "0":
        (folder / "run.json").write_text(json.dumps(found | {"road": road}), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
