"""``check``: what a program's sites are, and whether inference could start, before any fit."""

from __future__ import annotations

import dataclasses
import html
from dataclasses import dataclass
from typing import Any

import torch

from ppzoo.errors import ModelError
from ppzoo.fitting import prepare, source_of
from ppzoo.inference.density import SiteReport, format_sites, report_sites
from ppzoo.inference.program import has_method, is_conditioned
from ppzoo.isolation import isolated
from ppzoo.judging import PRIOR_ONLY

__all__ = ["SiteTable", "check"]


@dataclass(frozen=True, repr=False)
class SiteTable:
    """The sites of a program at a starting point: value, support, log probability, gradient finite or not.

    Attributes:
        name: The model's name.
        sites: One report per site, in the order of the program.
        notes: Casts that were made on the way, and a warning where the program observes nothing.
    """

    name: str
    sites: tuple[SiteReport, ...]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether every log probability and gradient is finite."""
        finite = all(torch.isfinite(torch.tensor(site.log_prob)) for site in self.sites)
        return finite and not any(site.gradient_finite is False for site in self.sites)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for ``--json``."""
        return {"model": self.name, "ok": self.ok, "sites": [dataclasses.asdict(site) for site in self.sites]}

    def __repr__(self) -> str:
        head = f"{self.name}: {'ready' if self.ok else 'NOT READY'}"
        return "\n".join([head, format_sites(list(self.sites)), *self.notes])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


def check(model: Any, data: Any = (), *, device: str = "cpu", dtype: torch.dtype | None = None) -> SiteTable:
    """Run a program once on its data, hold the data against each site's support, and report every site.

    Args:
        model: As for :func:`ppzoo.fit`.
        data: As for :func:`ppzoo.fit`.
        device: Where to run.
        dtype: Floating type; the data's own when ``None``.

    Raises:
        DataError: If the data cannot be used or lie outside a site's support.
        ModelError: If the program fails on the data, or is a game without sites.

    Example:
        >>> import ppzoo
        >>> table = ppzoo.check(ppzoo.create_model("eight_schools"), ppzoo.load_dataset("eight_schools"))
        >>> table.ok, [site.name for site in table.sites][:2]
        (True, ['mu', 'tau'])
    """
    if has_method(model, "critic_loss"):
        raise ModelError(
            "is a game between two networks and has no sites",
            argument="model",
            got=f"a {type(model).__name__}",
            remedy='Fit it with method="adversarial" (--method adversarial).',
        )
    pair, own_dtype, notes = prepare(model, data, device=device, fixed=dtype)
    with isolated(seed=0, dtype=own_dtype, device=device, store=pair.store):
        rows = report_sites(pair)
        conditioned = is_conditioned(pair.trace_model())
    if not conditioned and (pair.data.args or pair.data.kwargs):
        notes = (*notes, str(PRIOR_ONLY))
    return SiteTable(str(source_of(model)["name"]), tuple(rows), notes)
