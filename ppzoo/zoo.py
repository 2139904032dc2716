"""The one table of the zoo: name, class, paper, data, methods. A variant is a row or an argument, not a class.

The table is literal, so that listing it imports nothing.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ppzoo.checks import check_seed, nearest
from ppzoo.errors import ModelError, OptionError
from ppzoo.rng import stream_seed

__all__ = ["Card", "create_model", "list_models", "model_card"]


@dataclass(frozen=True)
class Card:
    """What is known of a model before it is made.

    Attributes:
        name: Name for :func:`create_model`.
        path: ``module:Class``.
        summary: One sentence.
        paper: Author, title, year.
        link: Where to read it.
        data: The built-in data set it is shown on.
        methods: The methods that can fit it, the usual one first.
    """

    name: str
    path: str
    summary: str
    paper: str
    link: str
    data: str
    methods: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.summary}\n"
            f"  paper    {self.paper}\n           {self.link}\n"
            f"  data     {self.data}\n"
            f"  methods  {', '.join(self.methods)}"
        )


_CARDS = (
    Card(
        "eight_schools",
        "ppzoo.models.regression.eight_schools:EightSchools",
        "Coaching effects in eight schools: the smallest hierarchy, with the funnel that comes with it.",
        "Rubin, Estimation in Parallel Randomized Experiments, 1981",
        "https://doi.org/10.3102/10769986006004377",
        "eight_schools",
        ("nuts", "svi"),
    ),
    Card(
        "linear_regression",
        "ppzoo.models.regression.linear_regression:LinearRegression",
        "Conjugate linear regression: the exact posterior and evidence in closed form.",
        "Gelman et al., Bayesian Data Analysis, 3rd edition, section 14.8, 2013",
        "http://www.stat.columbia.edu/~gelman/book/",
        "diabetes",
        ("exact", "svi", "nuts"),
    ),
    Card(
        "ppca",
        "ppzoo.models.linear.ppca:PPCA",
        "Probabilistic PCA: a linear latent code with Gaussian noise; the guide is the exact posterior.",
        "Tipping and Bishop, Probabilistic Principal Component Analysis, 1999",
        "https://doi.org/10.1111/1467-9868.00196",
        "iris",
        ("exact", "svi"),
    ),
    Card(
        "bayesian_ppca",
        "ppzoo.models.linear.bayesian_ppca:BayesianPPCA",
        "PPCA with priors on loadings, mean and noise; the codes are integrated out.",
        "Bishop, Bayesian PCA, 1999",
        "https://papers.nips.cc/paper/1549-bayesian-pca",
        "iris",
        ("nuts", "svi"),
    ),
    Card(
        "gmm",
        "ppzoo.models.mixture.gmm:GaussianMixture",
        "Mixture of Gaussians by maximum likelihood; assignments are summed out.",
        "Dempster, Laird and Rubin, Maximum Likelihood from Incomplete Data via the EM Algorithm, 1977",
        "https://doi.org/10.1111/j.2517-6161.1977.tb01600.x",
        "old_faithful",
        ("em", "svi"),
    ),
    Card(
        "bayesian_gmm",
        "ppzoo.models.mixture.bayesian_gmm:BayesianGaussianMixture",
        "Mixture of Gaussians with priors; components ordered along the first column, so chains agree on their names.",
        "Diebolt and Robert, Estimation of Finite Mixture Distributions through Bayesian Sampling, 1994",
        "https://doi.org/10.1111/j.2517-6161.1994.tb01985.x",
        "galaxies",
        ("nuts", "svi"),
    ),
    Card(
        "vae",
        "ppzoo.models.autoencoder.vae:VAE",
        "Variational autoencoder: a neural decoder of a Gaussian code, an encoder as amortised guide.",
        "Kingma and Welling, Auto-Encoding Variational Bayes, 2014",
        "https://arxiv.org/abs/1312.6114",
        "digits",
        ("svi",),
    ),
    Card(
        "realnvp",
        "ppzoo.models.flow.realnvp:RealNVP",
        "Normalising flow of affine couplings: exact density and exact samples.",
        "Dinh, Sohl-Dickstein and Bengio, Density Estimation Using Real NVP, 2017",
        "https://arxiv.org/abs/1605.08803",
        "two_moons",
        ("svi",),
    ),
    Card(
        "gan",
        "ppzoo.adversarial.gan:GAN",
        "Generative adversarial network: generator against critic, no likelihood; judged by the modes it covers.",
        "Goodfellow et al., Generative Adversarial Nets, 2014",
        "https://arxiv.org/abs/1406.2661",
        "ring_of_gaussians",
        ("adversarial",),
    ),
)
_ZOO = {card.name: card for card in _CARDS}


def list_models(pattern: str = "*") -> list[str]:
    """Names of the models that match a shell pattern, sorted.

    Example:
        >>> "eight_schools" in list_models("*schools")
        True
    """
    return sorted(fnmatch.filter(_ZOO, pattern))


def model_card(name: str) -> Card:
    """The card of a model.

    Raises:
        ModelError: If there is no such model; the message names the nearest.

    Example:
        >>> model_card("eight_schools").methods
        ('nuts', 'svi')
    """
    if name not in _ZOO:
        raise ModelError("is not in the zoo", argument="model", got=repr(name), remedy=nearest(str(name), _ZOO))
    return _ZOO[name]


def create_model(name: str, *, seed: int = 0, **options: Any) -> Any:
    """Make a model of the zoo, its parameters in float32; a fit casts its copy to the type of the data.

    Args:
        name: A name from :func:`list_models`.
        seed: Decides the starting values of its parameters.
        **options: Arguments of its class, such as ``features=64``.

    Raises:
        ModelError: If there is no such model.
        OptionError: If an option is unknown, missing or outside its range.

    Example:
        >>> create_model("eight_schools", centred=True).centred
        True
    """
    import inspect

    from ppzoo.isolation import isolated

    card = model_card(name)
    module, _, attribute = card.path.partition(":")
    kind = getattr(import_module(module), attribute)
    parameters = inspect.signature(kind).parameters
    for option in options:
        if option not in parameters:
            raise OptionError(
                f"is not an option of {name!r}",
                argument=option,
                got=repr(options[option]),
                remedy=nearest(option, parameters),
            )
    for parameter in parameters.values():
        if parameter.default is parameter.empty and parameter.name not in options:
            raise OptionError(
                f"is needed to make {name!r}",
                argument=parameter.name,
                got="nothing",
                remedy=f'For example create_model("{name}", {parameter.name}=4), the number of columns of the data.',
            )
    with isolated(seed=stream_seed(check_seed(seed), "create", name)):
        model = kind(**options)
    model.zoo_spec = (name, options)
    return model
