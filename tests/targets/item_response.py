"""Item response theory of Inference Gym: 400 students, 100 questions, 30,012 answers.

    correct_(ij) ~ Bernoulli(logit = mean ability + ability_i - difficulty_j)

Lord and Novick, *Statistical Theories of Mental Test Scores*, 1968.
"""

from __future__ import annotations

from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from tests.targets import inference_gym
from tests.targets.target import Target

_DATA = "synthetic_item_response_theory"


def one_parameter_logistic(student: Tensor, question: Tensor, correct: Tensor) -> None:
    """Mean ability ~ N(0.75, 1), ability_i ~ N(0, 1), difficulty_j ~ N(0, 1)."""
    mean = pyro.sample("mean_student_ability", dist.Normal(0.75, 1.0))
    with pyro.plate("student", int(student.max()) + 1):
        ability = pyro.sample("centered_student_ability", dist.Normal(0.0, 1.0))
    with pyro.plate("question", int(question.max()) + 1):
        difficulty = pyro.sample("question_difficulty", dist.Normal(0.0, 1.0))
    with pyro.plate("answer", len(correct)):
        pyro.sample("correct", dist.Bernoulli(logits=mean + ability[student] - difficulty[question]), obs=correct)


def item_response(folder: Path, name: str) -> Target:
    """Simulated answers."""
    literals = inference_gym.observations(folder, _DATA)
    student, question = torch.tensor(literals["student_ids"]), torch.tensor(literals["question_ids"])
    data = {"student": student, "question": question, "correct": torch.tensor(literals["correct"]).double()}
    return Target(name, one_parameter_logistic, data, inference_gym.moments(folder, name))
