"""The GPU's bench, as far as it goes without one."""

import pytest
import torch

from model.config import ModelConfig
from tests.bench import train_gpu


def test_without_a_gpu_nothing_is_claimed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = train_gpu.run()
    assert result["measured"] is None
    assert result["reached"] is False
    assert "no GPU" in capsys.readouterr().out


@pytest.mark.slow
def test_both_loops_run_and_agree() -> None:
    """On the CPU, where their speed means nothing, with a network of some thousand numbers."""
    network = ModelConfig(layers=1, heads=1, width=16, context=64, vocabulary=200)
    training = train_gpu.make_training(8, 8, 2, dtype="fp32", compiled=False)
    measured = train_gpu.measure(network, training, "cpu", "NVIDIA H100 80GB HBM3")
    assert measured.difference < 1e-5
    assert measured.trainer > 0
    assert measured.plain > 0
    assert measured.mfu is not None
    assert 0 < measured.mfu < 1
    assert "losses differ" in train_gpu.show("124M", measured)
