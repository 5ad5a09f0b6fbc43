"""The settings of network and training; nothing here imports torch.

`ModelConfig` and `TrainConfig` are identity: the trained bytes depend on every field. Where files
lie and how often a checkpoint is kept (`TrainSpec`, `CheckpointConfig`) is not.
"""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

CONTEXT = 1024
VOCABULARY = 50257
PADDED_VOCABULARY = 50304  # the next multiple of 64: matrix products of the head run faster


class Settings(BaseModel):
    """Base of the room's settings: frozen, and an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=()
    )


class ModelConfig(Settings):
    """The shape of a GPT-2 and how its weights are drawn."""

    layers: int = Field(default=12, ge=1)
    """Transformer blocks."""
    heads: int = Field(default=12, ge=1)
    """Attention heads; must divide `width`."""
    width: int = Field(default=768, ge=1)
    """Length of a token's hidden vector."""
    context: int = Field(default=CONTEXT, ge=1)
    """Tokens the network sees at once; the shards' rows have this length."""
    vocabulary: int = Field(default=VOCABULARY, ge=2)
    """Token ids that exist."""
    padded_vocabulary: int = Field(default=PADDED_VOCABULARY, ge=2)
    """Rows of the embedding in training. Those past `vocabulary` stay zero, get no probability and
    are cut off on export."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of activations dropped in training (embedding, attention, residual)."""
    initialisation: Literal["openai", "hf"] = "openai"
    """Standard deviation of the position embedding: 0.01 as OpenAI's, or 0.02 as Hugging Face's.
    All other matrices 0.02; residual projections 0.02 / sqrt(2 * layers)."""

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.padded_vocabulary < self.vocabulary:
            raise ValueError(
                f"padded_vocabulary {self.padded_vocabulary} is below vocabulary {self.vocabulary}"
            )
        return self

    @property
    def parameters(self) -> int:
        """Trained numbers, the tied head counted once, padding not at all."""
        block = 12 * self.width**2 + 13 * self.width
        embeddings = (self.vocabulary + self.context) * self.width
        return embeddings + self.layers * block + 2 * self.width


PRESETS: dict[str, ModelConfig] = {
    "tiny": ModelConfig(layers=2, heads=2, width=128),
    "124M": ModelConfig(layers=12, heads=12, width=768),
    "355M": ModelConfig(layers=24, heads=16, width=1024),
    "774M": ModelConfig(layers=36, heads=20, width=1280),
    "1558M": ModelConfig(layers=48, heads=25, width=1600),
}
"""The published sizes (Radford et al. 2019, table 2) and one for tests and the demo."""


class SpikeConfig(Settings):
    """What becomes of a step whose loss or gradient norm is far above the recent ones."""

    action: Literal["record", "skip", "roll_back"] = "record"
    """`record`: only write it down. `skip`: make no update. `roll_back`: make none, and take back
    those since the last multiple of `roll_back_every_steps`. With numbers that are not finite, a
    step never makes an update."""
    z_score: float = Field(default=6.0, gt=0)
    """Standard deviations above the mean from which it is a spike."""
    window_steps: int = Field(default=128, ge=2)
    """Steps that are the measure; the first so many are never spikes."""
    roll_back_every_steps: int = Field(default=100, ge=1)
    """Steps that `roll_back` can return to are multiples of this; each is saved for it."""
    most_in_a_row: int = Field(default=20, ge=1)
    """Training ends with an error when so many steps in a row made no update."""


class SampleConfig(Settings):
    """Texts that the network writes during training."""

    every_steps: int = Field(default=0, ge=0)
    """Write some after each so many steps and after the last one; 0 never."""
    samples: int = Field(default=2, ge=1)
    """Texts each time."""
    max_new_tokens: int = Field(default=64, ge=1)
    """Longest text."""
    temperature: float = Field(default=1.0, ge=0)
    """Divides the logits; 0 always takes the likeliest token."""
    top_k: int = Field(default=0, ge=0)
    """Draw among the likeliest so many tokens; 0 among all."""


class TrainConfig(Settings):
    """What the trained weights depend on, beside the shards and the network's shape."""

    steps: int = Field(ge=1)
    """Optimizer steps."""
    sequences_per_step: int = Field(ge=1)
    """Sequences of one step over all ranks and micro-batches."""
    micro_batch: int = Field(default=1, ge=1)
    """Sequences that a rank takes through the network at once; the rest is accumulated."""
    learning_rate: float = Field(default=6e-4, gt=0)
    """Highest learning rate, reached after the warm-up."""
    schedule: Literal["cosine", "linear", "constant", "constant_decay"] = "cosine"
    """Course of the learning rate after the warm-up. `constant_decay` stays at the highest and
    falls over the last `decay_steps`."""
    decay_steps: int = Field(default=0, ge=0)
    """Steps of the fall at the end of `constant_decay`."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps of linear rise: step 1 has `learning_rate / warmup_steps`."""
    min_learning_rate_ratio: float = Field(default=0.1, ge=0, le=1)
    """Learning rate of the last step, as a share of the highest (not for `constant`)."""
    weight_decay: float = Field(default=0.1, ge=0)
    """Decoupled decay of matrices; biases and norms are never decayed."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """AdamW's decay of the mean gradient."""
    beta2: float = Field(default=0.95, ge=0, lt=1)
    """AdamW's decay of the mean squared gradient."""
    epsilon: float = Field(default=1e-8, gt=0)
    """AdamW's epsilon."""
    gradient_clip: float = Field(default=1.0, ge=0)
    """Largest gradient norm; 0 leaves gradients alone."""
    seed: int = Field(default=0, ge=0)
    """Decides initial weights, the order of sequences and dropout."""
    dtype: Literal["fp32", "bf16"] = "fp32"
    """Number format of matrix products; parameters and optimizer are always fp32."""
    zero_stage: Literal[0, 1, 2, 3] = 0
    """DeepSpeed ZeRO: what the ranks share out (1 optimizer, 2 gradients, 3 parameters)."""
    cpu_threads: int = Field(default=1, ge=1)
    """Threads of a rank. Sums are split among them, so the last bits depend on it."""
    validation_every_steps: int = Field(default=0, ge=0)
    """Measure validation loss each so many steps and after the last one; 0 never."""
    validation_sequences: int = Field(default=64, ge=1)
    """Sequences of the validation split that are measured (all, where it has fewer)."""
    spikes: SpikeConfig = SpikeConfig()
    """What becomes of steps that go wrong."""
    samples: SampleConfig = SampleConfig()
    """Texts written during training."""
    compile: bool = False
    """Have torch.compile make the network's code at the first step: faster on a GPU, needs a C++
    compiler, and other last bits."""

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.sequences_per_step % self.micro_batch:
            raise ValueError(
                f"sequences_per_step {self.sequences_per_step} is not a multiple of "
                f"micro_batch {self.micro_batch}"
            )
        if self.warmup_steps > self.steps:
            raise ValueError(f"warmup_steps {self.warmup_steps} exceeds steps {self.steps}")
        if self.warmup_steps + self.decay_steps > self.steps:
            raise ValueError(
                f"warmup_steps {self.warmup_steps} and decay_steps {self.decay_steps} together "
                f"exceed steps {self.steps}"
            )
        if bool(self.decay_steps) != (self.schedule == "constant_decay"):
            raise ValueError(
                f"decay_steps {self.decay_steps} does not go with schedule {self.schedule}: "
                "constant_decay needs one or more, the others 0"
            )
        return self


class CheckpointConfig(Settings):
    """When training is saved; the trained weights do not depend on it."""

    every_steps: int = Field(default=100, ge=1)
    """Save after each so many steps (and when stopped)."""
    keep_last: int = Field(default=2, ge=1)
    """Checkpoints that stay beside the milestones."""
    copy_to: str | None = None
    """Folder of object storage, `s3://BUCKET/FOLDER` or any other address of fsspec's, that
    checkpoints are copied to in the background, and that training begins from where the local
    folder is empty. Keys and endpoints come from the environment."""
    stop_grace_s: float = Field(default=7.0, ge=0)
    """How long a stop waits for a save. What takes longer is abandoned, and the checkpoint before
    it stays the newest; raise it where whoever stops the training can wait."""
    milestones: tuple[int, ...] = ()
    """Steps that are saved and kept for ever: beside the finished model, too, whose identity they
    are part of. `webtext eval MODEL --milestones` draws learning curves over them."""
    keep_milestones: Literal["model", "checkpoint"] = "model"
    """What is kept there: a Hugging Face folder of each, or the checkpoint, thrice as large, from
    which a training can go on."""

    def milestones_until(self, steps: int) -> list[int]:
        """The milestones that a training of so many steps reaches, in order."""
        return sorted({step for step in self.milestones if 0 < step <= steps})


class MonitorConfig(Settings):
    """Where the metrics go beside `metrics.jsonl`, through DeepSpeed's monitors."""

    tensorboard: bool = False
    """Write TensorBoard event files into the work folder's `monitor` (needs `tensorboard`)."""
    csv: bool = False
    """Write a CSV file for each figure into the work folder's `monitor`."""
    wandb: bool = False
    """Send them to Weights & Biases (needs `wandb` and its own settings in the environment)."""
    wandb_project: str = "webtext"
    """Project there."""
    wandb_team: str | None = None
    """Team there."""


class ProbeSpec(Settings):
    """A look at the network that the caller takes during training; see `model.probe`."""

    function: str = Field(pattern=r"^[\w.]+:\w+$")
    """`MODULE:FUNCTION`, importable by the trainer."""
    every_steps: int = Field(ge=1)
    """Look after each so many steps and after the last one."""
    arguments: dict[str, Any] = {}
    """What it is called with: plain JSON."""


class TrainSpec(Settings):
    """One training as `python -m model.train --spec FILE` reads it."""

    shards: Path
    """Shards artifact: `train/*.npy`, `validation/*.npy`."""
    shards_cache: Path | None = None
    """Folder on a disk of each machine's own that the shards are copied to first, and checked."""
    work: Path
    """Where checkpoints and metrics live; survives a kill. All machines share it."""
    destination: Path
    """Where the finished model goes: a folder that transformers opens."""
    vocabulary: Path
    """Folder with OpenAI's `encoder.json` and `vocab.bpe`; not read for other vocabulary sizes."""
    network: ModelConfig
    """Shape of the network."""
    training: TrainConfig
    """How it is trained."""
    checkpoints: CheckpointConfig = CheckpointConfig()
    """When it is saved."""
    monitors: MonitorConfig = MonitorConfig()
    """Where else its metrics go."""
    probe: ProbeSpec | None = None
    """A look that is taken now and then; the trained weights do not depend on it."""
    device: Literal["cpu", "cuda"] = "cpu"
    """What it runs on: `cuda` gives each rank of a machine a GPU."""
