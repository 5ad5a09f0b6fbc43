"""The published sizes, whole: round trips to the bit, and logits beside transformers'.

They take gigabytes and minutes; never more than one network is in memory.
"""

import os
import re
import shutil
import threading
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self

import pytest
import torch
from torch import Tensor

from model.config import PRESETS
from model.export import export_model, import_model
from model.generate import generate_tokens
from model.gpt2 import GPT2

pytestmark = pytest.mark.slow
SIZES = ("124M", "355M", "774M", "1558M")
TOKENS = torch.arange(40).reshape(1, 40) * 1237 % 50257


@pytest.fixture(scope="module")
def transformers() -> Iterator[Any]:
    os.environ["HF_HUB_OFFLINE"] = "1"
    yield pytest.importorskip("transformers")
    del os.environ["HF_HUB_OFFLINE"]


def draw_network(size: str) -> GPT2:
    """Every weight, biases and norms too, is a number of its own."""
    with torch.device("meta"):
        network = GPT2(PRESETS[size])
    network.to_empty(device="cpu")
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.uniform_(-0.035, 0.035)  # a standard deviation of 0.02
            if name.endswith(("ln_1.weight", "ln_2.weight", "ln_f.weight")):
                parameter.add_(1.0)
        network.wte.weight[network.config.vocabulary :] = 0.0
    return network.eval()


def digests(network: GPT2) -> dict[str, str]:
    return {name: digest(tensor) for name, tensor in network.state_dict().items()}


def digest(tensor: Tensor) -> str:
    return blake2b(tensor.detach().numpy().data, digest_size=16).hexdigest()


def measure_logits(network: GPT2) -> Tensor:
    with torch.inference_mode():
        return network.logits(network.hidden_states(TOKENS))


class AnonymousPeak:
    """The most memory a block of code takes of its own; pages of a mapped file are not counted."""

    def __enter__(self) -> Self:
        self.before = self.highest = anonymous_bytes()
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._done.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._done.wait(0.01):
            self.highest = max(self.highest, anonymous_bytes())

    @property
    def added(self) -> int:
        return self.highest - self.before


def anonymous_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) * 1024


@pytest.mark.parametrize("size", SIZES)
def test_round_trip_and_logits(size: str, transformers: Any, tmp_path: Path) -> None:
    network = draw_network(size)
    config, drawn = network.config, digests(network)
    logits = measure_logits(network)
    (greedy,) = generate_tokens(network, [464], max_new_tokens=10, temperature=0, end=-1)
    largest = 4 * config.padded_vocabulary * config.width
    with AnonymousPeak() as memory:
        export_model(config, network.state_dict(), tmp_path / "ours", vocabulary_folder=None)
    assert memory.added < 1.5 * largest  # a tensor, not the network
    del network

    with AnonymousPeak() as memory:
        back = import_model(tmp_path / "ours")
    assert memory.added < 4 * config.parameters + 1.5 * largest
    assert digests(back) == drawn
    assert torch.equal(measure_logits(back), logits)
    del back

    model = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "ours").eval()
    assert sum(p.numel() for p in model.parameters()) == config.parameters
    with torch.inference_mode():
        theirs = model(TOKENS).logits
    assert (theirs - logits).abs().max() < 1e-5
    start = torch.tensor([[464]])
    grown = model.generate(
        start,
        attention_mask=torch.ones_like(start),
        max_new_tokens=10,
        do_sample=False,
        pad_token_id=50256,
        eos_token_id=None,
    )
    assert grown[0, 1:].tolist() == greedy
    shutil.rmtree(tmp_path / "ours")  # mapped still; the disk is free when the model is
    model.save_pretrained(tmp_path / "theirs", max_shard_size="1GB")
    del model
    assert digests(import_model(tmp_path / "theirs")) == drawn
