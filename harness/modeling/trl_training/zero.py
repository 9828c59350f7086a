"""DeepSpeed's ZeRO under the trainer: weights, gradients and moments divided among processes, or on the host.

What differs from a training without it:

- Under `bf16: true` DeepSpeed computes with weights in bfloat16 and keeps float32 masters, which it makes of
  the weights after that cast. Elsewhere the weights stay float32 and are cast where they are used.
- The model in training is no model to save: its weights are parts, or roundings, of the masters. Best weights
  and the final model are the masters, put into a model that is loaded afresh.
- A checkpoint is DeepSpeed's, which it would unpickle. Here it is read as tensors, plain values and the plain
  classes named at the end, nothing else (`weights_only=True`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState
from torch import nn
from transformers import PreTrainedTokenizerBase
from transformers.integrations.deepspeed import deepspeed_load_checkpoint, unset_hf_deepspeed_config

from harness.errors import ModelError, PluginError
from harness.modeling.training.checkpoints import Tensors
from harness.modeling.training.processes import ALONE, Processes
from harness.modeling.training.setup import TrainingSetup, prepared_model
from harness.modeling.training.validation_loss import Validator
from harness.modeling.training_settings import TrainingSettings
from harness.modeling.trl_settings import INSTALL_DEEPSPEED
from harness.modeling.trl_training.journal import Journal
from harness.modeling.trl_training.trainer import Trainer
from harness.protocols import TrainJob

_ALONE = {
    "RANK": "0",
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "0",  # any port that is free
}
_CPU = torch.device("cpu")


@contextmanager
def zero_environment(deepspeed: Mapping[str, Any] | None) -> Iterator[None]:
    """What a launcher tells each process, for one that has none; everything as before afterwards.

    Raises PluginError where DeepSpeed is not installed.
    """
    if not deepspeed:
        yield
        return
    if find_spec("deepspeed") is None:
        raise PluginError("deepspeed is not installed", fix=INSTALL_DEEPSPEED)
    before = dict(os.environ)
    os.environ.update({key: value for key, value in _ALONE.items() if key not in before})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        _leave()
        unset_hf_deepspeed_config()
        AcceleratorState._reset_state(reset_partial_state=True)


def _leave() -> None:
    """Say good-bye to the other processes; DeepSpeed keeps a list of groups of its own."""
    from deepspeed import comm

    if comm.is_initialized():
        comm.destroy_process_group()


def require_devices(processes: Processes, device: torch.device) -> None:
    """ModelError for several processes on a CPU, of which accelerate knows nothing under DeepSpeed."""
    if processes.count > 1 and device.type == "cpu":
        what = "DeepSpeed trains in several processes on GPUs alone"
        raise ModelError(what, where="training.deepspeed", fix="set launch.num_processes: 1")


def model_on_the_host(
    job: TrainJob,
    settings: TrainingSettings,
    tokenizer: PreTrainedTokenizerBase,
    _device: torch.device,
    dtype: torch.dtype,
) -> Any:
    """The prepared model on the CPU: DeepSpeed moves to the GPU what is to be there, in its own dtype."""
    return prepared_model(job, settings, tokenizer, _CPU, dtype)


def whole_weights(model: nn.Module) -> Tensors:
    """The float32 masters of the trainable parameters by name, on the CPU; to be called by every process."""
    from deepspeed.utils import safe_get_full_fp32_param

    masters = {n: safe_get_full_fp32_param(p) for n, p in model.named_parameters() if p.requires_grad}
    return {name: tensor.detach().to(_CPU).clone() for name, tensor in masters.items()}


class ZeroJournal(Journal):
    """Keeps the best weights as whole float32 ones, and those of the end in the same way."""

    kept_step = 0

    def __init__(self, job: TrainJob, settings: TrainingSettings, setup: TrainingSetup, *more: Any) -> None:
        super().__init__(job, settings, setup, *more)
        # In stage 3 a forward pass is one of all processes: each validates on all rows.
        alone = replace(setup, processes=ALONE)
        batch_size = settings.per_device_eval_batch_size
        self._validator = Validator(alone, job.prompting, job.generation, batch_size)

    def _keep_weights(self, step: int) -> None:
        weights = whole_weights(self._setup.model)
        if self._setup.processes.first:
            self._best.save_best_weights(step, weights)
        self._setup.processes.wait()

    def _settle(self, best: int | None) -> None:
        self.kept_step = self.state.step if best is None else best
        if self.kept_step == self.state.step:
            self._keep_weights(self.kept_step)
        self._setup = replace(self._setup, model=None)  # it is of no more use, and large
        del self._validator

    def put_into(self, model: nn.Module) -> None:
        """Put the kept weights into a model that is loaded afresh."""
        self._best.restore_best(self.kept_step, model)


class ZeroTrainer(Trainer):
    """The trainer with DeepSpeed's checkpoints, each written once and read without unpickling."""

    def _prepare_for_training(
        self, max_steps: int, train_dataloader: Any, resume_from_checkpoint: Any
    ) -> Any:
        prepared = super()._prepare_for_training(max_steps, train_dataloader, None)
        engine: Any = self.deepspeed
        engine.checkpoint_engine = tensors_only()
        if resume_from_checkpoint is not None:
            whole = not _leaves_out_frozen(self.model)
            deepspeed_load_checkpoint(engine, resume_from_checkpoint, load_module_strict=whole)
            self._load_optimizer_and_scheduler(resume_from_checkpoint)
        return prepared

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """The weights are in DeepSpeed's part of the checkpoint: only the folder is made."""
        Path(str(output_dir)).mkdir(parents=True, exist_ok=True)

    def close(self) -> None:
        self.deepspeed.destroy()
        unset_hf_deepspeed_config()  # or a model that is loaded now would be divided too

    @property
    def stepped(self) -> torch.optim.Optimizer:
        """The optimizer whose moments DeepSpeed keeps."""
        optimizer: torch.optim.Optimizer = self.optimizer.optimizer.optimizer
        return optimizer


def _leaves_out_frozen(model: Any) -> bool:
    """Whether Trainer leaves the base out of a checkpoint, as it does for every adapter."""
    from peft import PeftModel

    return isinstance(model, PeftModel)


def tensors_only() -> Any:
    """DeepSpeed's own reading and writing of files, without pickled objects."""
    from deepspeed.runtime.checkpoint_engine import TorchCheckpointEngine
    from deepspeed.runtime.fp16.loss_scaler import LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    class TensorsOnly(TorchCheckpointEngine):  # type: ignore[misc]
        def save(self, state_dict: Any, path: str) -> None:
            torch.save(state_dict, path)

        def load(self, path: str, map_location: Any = None) -> Any:
            with torch.serialization.safe_globals([LossScaler, fragment_address, ZeroStageEnum]):
                return torch.load(path, map_location=map_location, weights_only=True)

    return TensorsOnly()
