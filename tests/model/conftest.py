"""One torch thread in tests: two torch processes on two cores slow each other down tenfold."""

import os

import torch

os.environ.setdefault("DS_ACCELERATOR", "cpu")
torch.set_num_threads(1)
