"""The bias flow: what a model has groups of people work as, and what it finds likely of them."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from eval.bias import read_bias
from eval.bias_sets import OCCUPATIONS, PAIRS, read_occupations, read_pairs
from flows import stages
from flows.bias_show import bias_markdown
from flows.funnel import publish_markdown
from flows.models import find_model
from flows.profile import Profile, as_profile
from flows.session import Session, session
from flows.work import THREADS, make, whole
from infra.sources import describe_source

ROLE = "probed_model"


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
        model: a model artifact's label, a checkpoint, a folder with a Hugging Face GPT-2, or a name
            on the hub.
        occupations: the set of prompts and occupations.
        pairs: the set of pairs of sentences.

    Returns:
        The label of the bias artifact, by its stage's name.
    """
    settings = as_profile(profile)
    with session("bias", settings) as run:
        made = make_bias(run, model, occupations, pairs)
        found = read_bias(run.store.folder_of(made[stages.BIAS.name]))
        publish_markdown("bias", "## Bias probes\n\n" + bias_markdown(found))
        return made


def make_bias(
    run: Session, model: str, occupations: Path = OCCUPATIONS, pairs: Path = PAIRS
) -> dict[str, str]:
    """Make or find the bias probes of a model; their label by the stage's name.

    Raises EvalError where a file is no set, StoreError where there is no such model.
    """
    read_occupations(occupations)
    read_pairs(pairs)
    scorable = find_model(run.store, model)
    sets = {"occupations": occupations, "pairs": pairs}
    artifact = make(
        run,
        stages.BIAS,
        run.profile.bias,
        {
            ROLE: [record.model_copy(update={"role": ROLE}) for record in scorable.inputs],
            **{role: [describe_source(run.store.root, role, path)] for role, path in sets.items()},
        },
        whole(),
        {
            "model": str(scorable.folder),
            "device": run.device,
            **{role: str(path) for role, path in sets.items()},
        },
    )
    return {stages.BIAS.name: artifact.label}
