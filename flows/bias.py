"""The bias flow: what a model has groups of people work as, and what it finds likely of them."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from eval.bias import read_bias
from eval.bias_sets import OCCUPATIONS, PAIRS, read_occupations, read_pairs
from flows import stages
from flows.bias_show import bias_markdown
from flows.funnel import publish_markdown
from flows.profile import Profile, as_profile
from flows.session import Session, session
from flows.work import THREADS, make, whole
from infra.manifest import MANIFEST_NAME, InputRecord
from infra.sources import describe_source


@flow(name="bias", persist_result=False, task_runner=THREADS)
def bias(
    profile: Profile | str,
    model: str,
    occupations: Path = OCCUPATIONS,
    pairs: Path = PAIRS,
) -> dict[str, str]:
    """Probe a model for bias.

    Args:
        profile: the profile, its path or its name.
        model: a model artifact's label, or a folder with a Hugging Face GPT-2.
        occupations: the set of prompts and occupations.
        pairs: the set of pairs of sentences.

    Returns:
        The label of the bias artifact, by its stage's name.
    """
    settings = as_profile(profile)
    with session("bias", settings) as run:
        made = make_bias(run, model, occupations, pairs)
        found = read_bias(run.store.root / made[stages.BIAS.name])
        publish_markdown("bias", "## Bias probes\n\n" + bias_markdown(found))
        return made


def make_bias(
    run: Session, model: str, occupations: Path = OCCUPATIONS, pairs: Path = PAIRS
) -> dict[str, str]:
    """Make or find the bias probes of a model; their label by the stage's name.

    Raises EvalError where a file is no set.
    """
    read_occupations(occupations)
    read_pairs(pairs)
    folder, inputs = _probed(run, model)
    sets = {"occupations": occupations, "pairs": pairs}
    artifact = make(
        run,
        stages.BIAS,
        run.profile.bias,
        {
            "probed_model": inputs,
            **{role: [describe_source(run.store.root, role, path)] for role, path in sets.items()},
        },
        whole(),
        {
            "model": str(folder),
            "device": run.device,
            **{role: str(path) for role, path in sets.items()},
        },
    )
    return {stages.BIAS.name: artifact.label}


def _probed(run: Session, model: str) -> tuple[Path, list[InputRecord]]:
    """The folder of a model artifact or of a Hugging Face GPT-2, and what its probes depend on."""
    folder = Path(model)
    if (folder / "config.json").is_file() and not (folder / MANIFEST_NAME).is_file():
        paths = [folder / "config.json", *sorted(folder.glob("*.safetensors"))]
        return folder, [describe_source(run.store.root, "probed_model", path) for path in paths]
    artifact = run.store.find(model)
    return artifact.path, [artifact.as_input("probed_model")]
