"""Every model of the zoo keeps every contract: one table, read off the cards. Being in the zoo is being tested."""

from __future__ import annotations

import importlib
import inspect
import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch

import ppzoo
from ppzoo import contracts
from ppzoo.errors import DataError, ModelError, OptionError
from ppzoo.inference.methods import METHODS
from ppzoo.inference.program import has_method
from ppzoo.zoo import list_models, model_card

ROWS = 40  # of the model's own data set

# the smallest settings with which each method runs
QUICK = {
    "svi": {"steps": 4},
    "nuts": {"chains": 1, "warmup": 20, "draws": 4, "max_tree_depth": 3},
    "exact": {},
    "em": {"steps": 3, "restarts": 1},
    "adversarial": {"steps": 2, "batch_size": 8},
}
CONTRACT = {  # what a method asks of a model
    "svi": contracts.Program,
    "nuts": contracts.Program,
    "exact": contracts.Exact,
    "em": contracts.EM,
    "adversarial": contracts.Game,
}
SMALL = {"hidden": (8,), "layers": 2, "latents": 2}  # options that keep a network small, where a model has them

PAIRS = [(name, method) for name in list_models() for method in model_card(name).methods]
DTYPES = [torch.float32, torch.float64]


@dataclass(frozen=True)
class Known:
    """A model with its data, as its card has them."""

    name: str
    model: object
    data: dict[str, torch.Tensor]

    def rows(self, n):
        """The first rows of x, for the verbs that take no response."""
        return self.data["x"][:n]


def arguments(name):
    """The first rows of the card's data set, those that the model names; standardised where the numbers are large."""
    record = ppzoo.load_dataset(model_card(name).data)
    wanted = inspect.signature(entry(kind_of(name))).parameters
    found = {key: torch.tensor(np.asarray(value[:ROWS])) for key, value in record.data.items() if key in wanted}
    return {key: value for key, value in found.items() if key != "self"}


def entry(kind):
    return kind.critic_loss if has_method_of(kind, "critic_loss") else kind.model


def has_method_of(kind, name):
    return callable(getattr(kind, name, None))


def kind_of(name):
    module, _, attribute = model_card(name).path.partition(":")
    return getattr(importlib.import_module(module), attribute)


def create(name, data, **options):
    known = inspect.signature(kind_of(name)).parameters
    if "features" in known:
        options = {"features": data["x"].shape[1]} | options
    return ppzoo.create_model(name, **{key: value for key, value in SMALL.items() if key in known} | options)


@pytest.fixture(params=list_models())
def known(request):
    data = arguments(request.param)
    return Known(request.param, create(request.param, data), data)


def fitted(name, method, **options):
    data = arguments(name)
    return ppzoo.fit(create(name, data), data, method=method, **QUICK[method] | options)


def said(fit):
    """All numbers of a fit that are cheap to get, as bytes."""
    found = {f"parameter {name}": value for name, value in fit.parameters().items()}
    if fit.kind != "point":
        found |= {f"draw {name}": value for name, value in fit.draws(4).items()}
    if has_method(fit.pair.owner, "sample"):
        found["sample"] = fit.sample(3)
    if has_method(fit.pair.owner, "model"):
        found |= {f"prediction {name}": value for name, value in fit.predict(draws=2).items()}
    return {name: (value.dtype, tuple(value.shape), value.numpy(force=True).tobytes()) for name, value in found.items()}


# the card


@pytest.mark.parametrize("name", list_models())
def test_the_card_is_filled_in_and_true(name):
    card = model_card(name)
    assert card.name == name
    assert all(isinstance(value, str) and value for value in (card.summary, card.paper, card.link, card.data))
    assert card.summary.endswith(".")
    assert card.link.startswith(("https://", "http://"))
    assert card.data in ppzoo.list_datasets()
    assert card.methods
    assert set(card.methods) <= set(METHODS)
    assert all(part in str(card) for part in (name, card.paper, card.link, *card.methods))


@pytest.mark.parametrize("name", list_models())
def test_the_file_opens_with_equation_and_the_reference_of_the_card(name):
    module = inspect.getmodule(kind_of(name))
    assert module is not None
    assert model_card(name).link in (module.__doc__ or "")
    assert "\n    " in (module.__doc__ or ""), "an equation, set apart"
    assert kind_of(name).__name__ in module.__all__
    for verb in ("model", "guide", "check", "sample", "log_prob", "encode", "solve"):
        if has_method_of(kind_of(name), verb) and verb in vars(kind_of(name)):
            assert inspect.getdoc(vars(kind_of(name))[verb]), verb


@pytest.mark.parametrize("name", list_models())
def test_only_the_number_of_columns_has_no_default(name):
    parameters = inspect.signature(kind_of(name)).parameters.values()
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters)
    assert [p.name for p in parameters if p.default is p.empty] in ([], ["features"])


def test_a_model_is_a_program_or_a_game(known):
    assert isinstance(known.model, contracts.Game) is not isinstance(known.model, contracts.Program)
    assert isinstance(known.model, contracts.Checked)
    assert isinstance(known.model, torch.nn.Module)


def test_arguments_of_all_verbs_agree(known):
    verbs = [
        verb for verb in ("model", "guide", "check", "solve", "e_step", "initialise") if has_method(known.model, verb)
    ]
    taken = {tuple(inspect.signature(getattr(known.model, verb)).parameters) for verb in verbs}
    assert len(taken) == 1


# making


def test_options_are_checked(known):
    for option, value in {"features": 0, "latents": 2.5, "components": "3", "hidden": 64, "centred": 1}.items():
        if option in inspect.signature(type(known.model)).parameters:
            with pytest.raises(OptionError, match=option):
                create(known.name, known.data, **{option: value})
    with pytest.raises(OptionError, match="fetures"):
        create(known.name, known.data, fetures=3)


def test_one_seed_makes_one_model(known):
    _, options = known.model.zoo_spec
    first, second, other = (ppzoo.create_model(known.name, seed=seed, **options) for seed in (1, 1, 2))
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())
    random = {n for n, value in first.state_dict().items() if not torch.equal(value, other.state_dict()[n])}
    drawn = {n for n, value in first.state_dict().items() if value.dim() > 1 and len(value.unique()) > 2}
    assert drawn <= random


# the door


def test_its_own_data_pass_its_check(known, isolation):
    known.model.check(**known.data)
    assert isolation() == []


def test_bad_data_are_refused_by_name(known):
    for name, value in known.data.items():
        for bad in (value[:0], value.unsqueeze(-1).expand(*value.shape, 2), value.new_full(value.shape, float("nan"))):
            with pytest.raises(DataError, match=name):
                ppzoo.fit(known.model, known.data | {name: bad}, method=model_card(known.name).methods[0])


def test_the_sites_are_ready(known):
    if isinstance(known.model, contracts.Game):
        with pytest.raises(ModelError, match="game"):
            ppzoo.check(known.model, known.data)
        return
    table = ppzoo.check(known.model, known.data)
    assert table.ok, str(table)
    observed = [site for site in table.sites if site.kind == "observed"]
    assert {site.name for site in observed} <= set(known.data), "an observed site is named like its argument"
    assert observed
    assert all(site.plates for site in observed), "a plate names its rows"


# fitting


@pytest.mark.parametrize(("name", "method"), PAIRS)
@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
def test_every_listed_method_runs_in_both_types(name, method, dtype):
    fit = fitted(name, method, dtype=dtype)
    assert fit.dtype is dtype
    kinds = {value.dtype for value in fit.parameters().values()}
    kinds |= {value.dtype for value in fit.draws(4).values()} if fit.kind != "point" else set()
    assert {kind for kind in kinds if kind.is_floating_point} == {dtype}  # beside them labels, which are whole
    assert all(bool(torch.isfinite(value).all()) for value in fit.parameters().values())
    if fit.losses is not None:
        assert np.isfinite(fit.losses).all()


@pytest.mark.parametrize(("name", "method"), PAIRS)
def test_a_fit_leaves_model_and_data_alone_and_repeats(name, method, isolation):
    data = arguments(name)
    model = create(name, data)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    kept = {key: value.clone() for key, value in data.items()}
    fit = ppzoo.fit(model, data, method=method, seed=3, **QUICK[method])
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(torch.equal(value, kept[key]) for key, value in data.items())
    assert isolation() == []
    again = ppzoo.fit(model, data, method=method, seed=3, **QUICK[method])
    assert said(again) == said(fit)
    if fit.losses is not None:
        assert again.losses.tobytes() == fit.losses.tobytes()


@pytest.mark.parametrize(("name", "method"), [pair for pair in PAIRS if pair[1] != "nuts"])
def test_whole_numbers_are_real_numbers(name, method):
    """A table without a decimal point is read as integers: the fit is that of the same numbers as floats."""
    top = 1 if name == "vae" else 9  # its data lie between 0 and 1
    real = {
        key: (top * value / value.abs().amax(0).clamp(1e-9)).double().round() for key, value in arguments(name).items()
    }
    whole = {key: value.long() for key, value in real.items()}
    model = create(name, real)
    of_real, of_whole = (ppzoo.fit(model, data, method=method, **QUICK[method]) for data in (real, whole))
    assert said(of_whole) == said(of_real)
    assert "integers were taken as real numbers" in set(of_whole.notes) - set(of_real.notes)
    for verb in ("log_prob", "encode"):
        if has_method(model, verb):
            x, again = (getattr(fit, verb)(whole["x"][:3]) for fit in (of_real, of_whole))
            assert torch.equal(x, again)


@pytest.mark.parametrize("name", list_models())
@pytest.mark.parametrize("method", QUICK)
def test_a_method_whose_contract_a_model_lacks_says_so(name, method):
    data = arguments(name)
    model = create(name, data)
    if method in model_card(name).methods:
        assert isinstance(model, CONTRACT[method])
        return
    if isinstance(model, CONTRACT[method]) and (method != "nuts" or model_has_latents(model, data)):
        fit = ppzoo.fit(model, data, method=method, **QUICK[method])  # it runs, and says what it has not learnt
        assert method == "nuts"
        assert fit.diagnose().verdict != "trust"
        assert any("parameters were not sampled" in finding.what for finding in fit.diagnose().findings)
        return
    with pytest.raises(ModelError) as caught:
        ppzoo.fit(model, data, method=method, **QUICK[method])
    assert caught.value.remedy


def model_has_latents(model, data):
    return any(site.kind == "latent" for site in ppzoo.check(model, data).sites)


@pytest.mark.parametrize(("name", "method"), [(n, model_card(n).methods[0]) for n in list_models()])
def test_every_device(name, method, device):
    fit = fitted(name, method, device=device)
    assert fit.device.type == device
    if fit.kind != "point":
        assert {value.device.type for value in fit.draws(3).values()} == {device}
    assert "observed_data" in fit.to_arviz().children


# reading


@pytest.mark.parametrize(("name", "method"), PAIRS)
def test_the_tree_the_table_and_the_verdict(name, method):
    fit = fitted(name, method)
    tree = fit.to_arviz()
    posterior = tree["posterior"]
    if fit.kind == "point":
        assert not posterior.data_vars
    else:
        assert all(value.dims[:2] == ("chain", "draw") for value in posterior.data_vars.values())
        assert set(posterior.data_vars) == set(fit.draws(4))
        assert {"log_likelihood", "posterior_predictive", "observed_data"} <= set(tree.children)
        data_plates = set(tree["observed_data"].dims) & set(tree["log_likelihood"].dims)
        assert data_plates, "the plate of the rows names a dimension of both"
    assert json.dumps(tree.attrs)
    assert len(fit.summary()) == (len(fit.summary().index.unique()))
    assert fit.diagnose().verdict in {"trust", "caution", "reject"}
    assert name in repr(fit)
    assert "verdict" in str(fit)


@pytest.mark.parametrize(("name", "method"), PAIRS)
def test_a_saved_fit_needs_nothing_but_its_folder(name, method, tmp_path):
    fit = fitted(name, method)
    again = ppzoo.load(fit.save(tmp_path / "run"))
    assert said(again) == said(fit)
    assert again.source == fit.source


@pytest.mark.parametrize("verb", ["log_prob", "encode", "sample"])
def test_a_model_does_what_its_contracts_say_and_refuses_the_rest(known, verb):
    fit = fitted(known.name, model_card(known.name).methods[0])
    argument = 3 if verb == "sample" else next(iter(known.data.values()))[:3]
    if not has_method(known.model, verb):
        with pytest.raises(ModelError, match=rf"cannot {verb}"):
            getattr(fit, verb)(argument)
        return
    found = getattr(fit, verb)(argument)
    assert len(found) == 3
    assert found.shape == {"log_prob": (3,), "sample": tuple(known.data["x"][:3].shape)}.get(verb, found.shape)
    assert found.dtype is fit.dtype
    assert bool(torch.isfinite(found).all())
    if verb != "sample":
        one = getattr(fit, verb)(argument[:1])
        assert torch.allclose(one, found[:1]), "rows do not see each other"
        with pytest.raises(DataError, match="x"):
            getattr(fit, verb)(torch.zeros(3, argument.shape[1] + 1))


def test_a_density_is_that_of_its_draws(known):
    """E log p(x) over the model's own draws is at least that of any rows it was not fitted to; and log_prob sums up."""
    if not isinstance(known.model, contracts.Density):
        with pytest.raises(ModelError):
            fitted(known.name, model_card(known.name).methods[0]).log_prob(next(iter(known.data.values())))
        return
    fit = fitted(known.name, model_card(known.name).methods[0])
    own, other = fit.sample(500), 3 + 2 * fit.sample(500)
    assert float(fit.log_prob(own).mean()) > float(fit.log_prob(other).mean())
