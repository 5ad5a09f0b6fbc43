"""The profiles of the published sizes: the recipes' numbers, and a corpus in common."""

from __future__ import annotations

import pytest

from flows.profile import Profile, load_profile
from infra.profiles import FOLDER
from model.config import PRESETS
from model.engine import accumulation_of, engine_settings
from model.schedule import learning_rate_at

# Highest learning rate, sequences a step, steps; the profiles name the sources.
RECIPES = {
    "124M": (6e-4, 512, 18_865),
    "355M": (3e-4, 512, 60_000),
    "774M": (2.5e-4, 512, 286_102),
    "1558M": (6e-4, 1024, 32_000),
}
CORPUS = (
    "partitions", "submissions", "links", "crawl", "pages", "documents", "signatures", "duplicates",
    "corpus", "shards",
)  # fmt: skip


@pytest.fixture(params=RECIPES)
def size(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def profile(size: str) -> Profile:
    return load_profile(f"gpt2-{size}")


def test_the_numbers_are_the_recipes(size: str, profile: Profile) -> None:
    rate, sequences, steps = RECIPES[size]
    training = profile.train
    assert profile.name == f"gpt2-{size}".lower()
    assert profile.model == PRESETS[size]
    assert (training.learning_rate, training.sequences_per_step, training.steps) == (
        rate, sequences, steps,
    )  # fmt: skip
    assert (training.beta1, training.beta2, training.epsilon) == (0.9, 0.95, 1e-8)
    assert (training.weight_decay, training.gradient_clip, training.dtype) == (0.1, 1.0, "bf16")
    assert learning_rate_at(training, 700) == pytest.approx(rate)
    assert learning_rate_at(training, steps) == pytest.approx(rate / 10)


@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
def test_they_run_on_one_to_eight_ranks(profile: Profile, ranks: int) -> None:
    training = profile.train
    together = accumulation_of(training, ranks) * ranks * training.micro_batch
    assert together == training.sequences_per_step
    assert engine_settings(training, ranks)["zero_optimization"]["stage"] == training.zero_stage


def test_the_corpus_is_that_of_webtext(profile: Profile) -> None:
    """So that shards made for one size serve all."""
    webtext = load_profile("webtext")
    for section in CORPUS:
        assert getattr(profile, section) == getattr(webtext, section), section


def test_expected_loss_time_hardware_and_sources_are_told(size: str) -> None:
    text = (FOLDER / f"gpt2-{size}.toml").read_text()
    told = ("# Hardware:", "#   loss ", "#   time ", "# Sources:", "hours", "Brown et al. 2020")
    assert all(word in text for word in told)
