"""Milestones beside the finished model: what the network was at chosen steps.

    milestones/step-00000500/    a Hugging Face folder, as the model itself is, or the checkpoint

So a learning curve can be drawn long after the work folder is gone. Each is made of a checkpoint
whose hashes are checked, one network in memory at a time; an export is read back as every other.
"""

import shutil

from model.checkpoint_network import import_checkpoint
from model.config import TrainSpec
from model.export import export_model
from model.launch import CHECKPOINTS, checkpoint_name

MILESTONES = "milestones"
"""Folder of them in the model's."""


def keep_milestones(spec: TrainSpec) -> None:
    """Put the milestones of a training that is done beside its model.

    Raises:
        CheckpointError: one is missing or damaged.
    """
    shutil.rmtree(spec.destination / MILESTONES, ignore_errors=True)
    for step in spec.checkpoints.milestones_until(spec.training.steps):
        name = checkpoint_name(step)
        source, target = spec.work / CHECKPOINTS / name, spec.destination / MILESTONES / name
        network = import_checkpoint(source)  # checks the files, whatever becomes of them
        if spec.checkpoints.keep_milestones == "checkpoint":
            shutil.copytree(source, target)
            continue
        weights = {key: tensor.detach() for key, tensor in network.state_dict().items()}
        export_model(spec.network, weights, target, vocabulary_folder=spec.vocabulary)
