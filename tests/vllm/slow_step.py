"""Makes every step of an engine last a fixed time, as on a GPU of its own.

A tiny model's step costs some milliseconds of CPU, so a few engines that share two cores share
their speed: a third one adds nothing. With this plug-in (vLLM: `--logits-processors
slow_step:SlowStep`) a step takes STEP_SECONDS of wall time, most of it asleep. The throughput then
depends on the number of engines and not on the machine: `max_num_seqs / STEP_SECONDS` tokens a
second for each.
"""

import os
import time

from vllm.v1.sample.logits_processor import LogitsProcessor

STEP_SECONDS = float(os.environ.get("STEP_SECONDS", "0"))


class SlowStep(LogitsProcessor):
    """Leaves the logits as they are and sleeps until the step has lasted STEP_SECONDS."""

    def __init__(self, vllm_config, device, is_pin_memory):
        self.began = time.monotonic()

    def is_argmax_invariant(self):
        """Returns False, because vLLM skips argmax-invariant processors when it samples greedily."""
        return False

    def update_state(self, batch_update):
        """Called before the forward pass of every step."""
        self.began = time.monotonic()

    def apply(self, logits):
        """Called after the forward pass, once a step."""
        time.sleep(max(0.0, self.began + STEP_SECONDS - time.monotonic()))
        return logits
