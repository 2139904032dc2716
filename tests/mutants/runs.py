"""Bugs in a run: starting points, warm-up, which draws are kept, and how a run goes on after a stop."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["RUNS"]

STARTS = ("inference/mcmc/test_starts.py",)
ADAPTATION = ("inference/mcmc/test_adaptation.py",)
WARM_UP = ("inference/mcmc/test_warmup.py",)
ENGINE = ("inference/mcmc/test_engine.py", "inference/mcmc/test_samplers.py")
THINNING = ("inference/mcmc/test_thinning.py",)
UNFINISHED = ("test_unfinished.py",)

RUNS = (
    Mutant(
        "one start for all chains",
        "Every chain starts at the place of the first.",
        "inference/mcmc/starts.py",
        "purpose=_PURPOSE))(keys, number)",
        "purpose=_PURPOSE))(keys[:1].expand(len(keys), 2), number)",
        STARTS,
    ),
    Mutant(
        "one draw of the prior for all chains",
        "Starts at draws of the prior forget the chain's number.",
        "inference/mcmc/starts.py",
        'stream_seed(seed, "start", chain, attempt)',
        'stream_seed(seed, "start", attempt)',
        STARTS,
    ),
    Mutant(
        "starts made of the noise of the first step",
        "Starting points use the numbers from which the first momentum is made.",
        "inference/mcmc/starts.py",
        "_PURPOSE = 2",
        "_PURPOSE = 0",
        STARTS,
    ),
    Mutant(
        "bad starts kept",
        "A start without finite density is good enough.",
        "inference/mcmc/starts.py",
        "waiting = waiting[~(torch.isfinite(lp) & torch.isfinite(g).all(1))]",
        "waiting = waiting[:0]",
        STARTS,
    ),
    Mutant(
        "step size tuned away from the target",
        "Dual averaging follows the error with the wrong sign.",
        "inference/mcmc/adaptation.py",
        "weight * (target - acceptance)",
        "weight * (acceptance - target)",
        ADAPTATION,
    ),
    Mutant(
        "metric learnt as its inverse",
        "The inverse mass is the ratio of the gradients' spread to the draws'.",
        "inference/mcmc/adaptation.py",
        "0.5 * (torch.log(self.squares[:, 0]) - torch.log(self.squares[:, 1]))",
        "0.5 * (torch.log(self.squares[:, 1]) - torch.log(self.squares[:, 0]))",
        ADAPTATION,
    ),
    Mutant(
        "windows never emptied",
        "Moments of a window stay when the next one begins.",
        "inference/mcmc/adaptation.py",
        "keep = (~ready).to(n.dtype)",
        "keep = torch.ones_like(self.count)",
        ADAPTATION,
    ),
    Mutant(
        "moments merged without their gap",
        "Two batches are merged without the distance of their means.",
        "inference/mcmc/adaptation.py",
        "self.squares = self.squares + squares + gap**2 * (self.count[:, None, None] * share)",
        "self.squares = self.squares + squares",
        ADAPTATION,
    ),
    Mutant(
        "adaptation not frozen",
        "The step size follows the acceptance while draws are kept.",
        "inference/mcmc/engine.py",
        '            divergences += int(chains.rows["diverging"].sum())\n',
        '            divergences += int(chains.rows["diverging"].sum())\n'
        '            acceptance = chains.rows["acceptance_rate"].mean(1)\n'
        '            chains.state["next_step_size"] = chains.state["next_step_size"] * torch.exp(acceptance - 0.8)\n',
        ENGINE,
    ),
    Mutant(
        "step size of every leapfrog",
        "A trajectory's step size follows the next one's before it has ended.",
        "inference/mcmc/nuts.py",
        "step_size = torch.where(ended, s.next_step_size, s.step_size)",
        "step_size = 0.9 * s.next_step_size + 0.1 * s.next_step_size * (s.leaf % 2)",
        ("inference/mcmc/test_kernel.py",),
    ),
    Mutant(
        "chains that learn alone learn from others",
        "Apart, a chain's metric is learnt from draws less the mean over all chains.",
        "inference/mcmc/warmup.py",
        "self.metric.add(self._grouped(q), self._grouped(g), self._grouped(filled))",
        "self.metric.add(self._grouped(q - q.mean(0)), self._grouped(g), self._grouped(filled))",
        WARM_UP,
    ),
    Mutant(
        "draws in the sampler's coordinates",
        "What is kept is not brought back from the coordinates in which the chains move.",
        "inference/mcmc/engine.py",
        'self.machine.whitening.positions(rows["q"])',
        'rows["q"]',
        ENGINE,
    ),
    Mutant(
        "thinning keeps the first",
        "Of every few draws the first is kept, not the last.",
        "inference/mcmc/thinning.py",
        "first = self.every - 1 - self.given % self.every",
        "first = -self.given % self.every",
        THINNING,
    ),
    Mutant(
        "thinning loses divergences",
        "A divergence among the draws that are left out is forgotten.",
        "inference/mcmc/thinning.py",
        ' | {"diverging": upto > before}',
        "",
        THINNING,
    ),
    Mutant(
        "thinning forgets between blocks",
        "Divergences since the last draw that was kept do not outlast a block.",
        "inference/mcmc/thinning.py",
        "self.diverged, self.given = total[:, -1] - last,",
        "self.diverged, self.given = 0 * last,",
        THINNING,
    ),
    Mutant(
        "rows over rows",
        "A chain's new rows begin on its last old one.",
        "inference/keeping.py",
        "self._counts[chain] + row]",
        "torch.clamp(self._counts[chain] - 1, min=0) + row]",
        ("inference/test_keeping.py",),
    ),
    Mutant(
        "the record before the rows",
        "The state on disk says that rows are there before they are.",
        "storage/drawlog.py",
        "            for field, sums in zip(new.fields, new.sums, strict=True):\n",
        "            write_record(self.folder, new)\n"
        "            for field, sums in zip(new.fields, new.sums, strict=True):\n",
        ("storage/test_drawlog.py", "storage/test_drawlog_faults.py"),
    ),
    Mutant(
        "counts without those before",
        "The record of how far each chain has come counts the last append only.",
        "storage/drawlog.py",
        "counts=old.counts + fresh,",
        "counts=fresh,",
        ("storage/test_drawlog.py",),
    ),
    Mutant(
        "a resumed run repeats its noise",
        "A run that goes on begins its random numbers anew.",
        "inference/mcmc/machine.py",
        'return self._at(state, here["steps"])',
        'return self._at(state, 0 * here["steps"])',
        UNFINISHED,
    ),
    Mutant(
        "a resumed run forgets its coordinates",
        "A run that goes on moves in plain coordinates.",
        "inference/mcmc/machine.py",
        '        self.whitening = Whitening(*(here[f"whitening.{name}"] for name in Whitening._fields))\n',
        "",
        UNFINISHED,
    ),
    Mutant(
        "a resumed warm-up forgets its window",
        "A warm-up that goes on counts the draws of its window from zero.",
        "inference/mcmc/warmup.py",
        '"given": self.given}',
        '"given": 0 * self.given}',
        WARM_UP,
    ),
    Mutant(
        "a run of another seed is resumed",
        "Header and run are not compared.",
        "storage/drawlog.py",
        'if differ := list(differences(record.header, plain_json(header, name="header"))):',
        "if differ := list(differences(record.header, record.header)):",
        UNFINISHED,
    ),
)
