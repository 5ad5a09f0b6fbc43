"""Texts written during training, and the monitors that its metrics go to."""

import csv
import importlib.util
from pathlib import Path

import pytest

from model.config import MonitorConfig, SampleConfig, TrainSpec
from model.export import import_model
from model.generate import generate_tokens
from model.looks import byte_characters, decoder_of
from model.trace import read_steps
from tests.model.nursery import Nursery
from tests.model.trainings import files_of, make_spec
from webtext.vocabulary import gpt2_encoding, vocabulary_folder

SAMPLES = SampleConfig(every_steps=8, samples=3, max_new_tokens=12, top_k=20)


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory, nursery: Nursery) -> TrainSpec:
    spec = make_spec(tmp_path_factory.mktemp("sampled"), samples=SAMPLES)
    spec = spec.model_copy(update={"monitors": MonitorConfig(csv=True)})
    assert nursery.run(spec) == 0
    return spec


def test_samples_are_those_of_the_network(sampled: TrainSpec) -> None:
    lines = read_steps(sampled.destination / "samples.jsonl")
    assert [(line["step"], line["sample"]) for line in lines] == [
        (step, number) for step in (8, 16, 20) for number in range(3)
    ]
    network = import_model(sampled.destination)
    expected = generate_tokens(
        network, [60], max_new_tokens=12, top_k=20, seed=5, samples=3, end=60
    )
    assert [line["tokens"] for line in lines[-3:]] == list(expected)
    assert lines[0]["tokens"] != lines[-3]["tokens"]
    assert {line["text"] for line in lines} == {None}  # a vocabulary of 61 has no text


def test_samples_do_not_change_the_training(
    sampled: TrainSpec, nursery: Nursery, tmp_path: Path
) -> None:
    plain = make_spec(tmp_path)
    assert nursery.run(plain) == 0
    for name in ("losses.jsonl", "model.safetensors"):
        assert files_of(plain.destination)[name] == files_of(sampled.destination)[name]


def test_figures_reach_deepspeeds_monitors(sampled: TrainSpec) -> None:
    files = list((sampled.work / "monitor").rglob("*train_loss*.csv"))
    assert len(files) == 1, list((sampled.work / "monitor").rglob("*"))
    with files[0].open() as file:
        rows = list(csv.reader(file))
    losses = {line["step"]: line["loss"] for line in read_steps(sampled.work / "losses.jsonl")}
    assert {int(step): float(value) for step, value in rows[1:]} == pytest.approx(losses)


@pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed"
)
@pytest.mark.slow
def test_tensorboard(nursery: Nursery, tmp_path: Path) -> None:
    spec = make_spec(tmp_path)
    spec = spec.model_copy(update={"monitors": MonitorConfig(tensorboard=True)})
    assert nursery.run(spec) == 0
    [events] = (spec.work / "monitor").rglob("events.out.tfevents.*")
    content = events.read_bytes()
    for name in (b"train/loss", b"train/validation_loss", b"train/tokens_per_second"):
        assert name in content


def test_tokens_decode_as_tiktoken_does() -> None:
    assert len(byte_characters()) == 256
    decode, encoding = decoder_of(vocabulary_folder()), gpt2_encoding()
    for text in ("Hello world", " naïve\n\t“quotes” 😀", "a\x00b\xad"):
        assert decode(encoding.encode_ordinary(text)) == text
    assert decode([447]) == "\ufffd"  # the first bytes of a curly quote alone
