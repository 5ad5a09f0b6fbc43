"""The pipeline flow: submissions to a score table and a model card, in one go."""

from prefect import flow

from flows import stages
from flows.bias import bias
from flows.corpus import corpus
from flows.evaluate import benchmarks_folder, evaluate, expect_coverage
from flows.overlap import overlap
from flows.profile import Profile, as_profile
from flows.publish import card_artifact, run_report
from flows.scores import missing_benchmarks
from flows.session import session
from flows.train import train
from flows.work import THREADS
from model.device import choose_device


@flow(name="pipeline", persist_result=False, task_runner=THREADS)
def pipeline(profile: Profile | str) -> dict[str, str]:
    """Run a profile end to end; gives the label of each artifact by its stage's name.

    `report` is the page that explains the run, by its path in the store.
    """
    settings = as_profile(profile)
    with session("pipeline", settings) as run:
        choose_device(settings.runtime.device, settings.runtime.ranks)  # no GPU: say so now
        made = corpus(settings)
        expect_coverage(run, settings.inputs.benchmarks)
        made |= train(settings, shards=made[stages.SHARDS.name])
        made |= evaluate(settings, model=made[stages.MODEL.name], held_out=made[stages.CORPUS.name])
        made |= bias(settings, model=made[stages.MODEL.name])
        made |= overlap(settings, trained=made[stages.MODEL.name], found=made)
        missing = missing_benchmarks(benchmarks_folder(settings, made))
        made |= card_artifact(run, made, missing)
    return made | run_report(run)
