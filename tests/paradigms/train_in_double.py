"""A training in double precision, in which one process and two differ by rounding alone: run as a script.

Each rank leaves its weights beside the run. With ``killed`` the first one dies at the beginning of the second epoch.
"""

import os
import signal
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from tiny_training import configured

from paradigms.base import Paradigm
from paradigms.train import train

if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double
    directory, killed, paradigm, *overrides = sys.argv[1:]

    def on_fit_end(self):
        weights = {name: value.contiguous() for name, value in self.network.state_dict().items()}
        save_file(weights, f"{directory}/rank{self.global_rank}.safetensors")

    def on_train_epoch_start(self):
        if killed == "killed" and self.current_epoch == 1 and self.global_rank == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    Paradigm.on_fit_end, Paradigm.on_train_epoch_start = on_fit_end, on_train_epoch_start
    config = configured(Path(directory), paradigm, "accelerator=cpu", "precision=32-true", *overrides)
    train(config, Path(directory) / "run")
