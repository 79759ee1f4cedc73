"""An engine's worker as a pod of the testbed needs it (vLLM: `--worker-cls pod_worker.PodWorker`).

It listens on no public address. vLLM prepares for many workers even where there is one: they meet at a TCP port that
torch opens on every address of the machine. This one meets itself in memory.

It finishes its requests before it stops: whoever stops a pod here signals all of its processes at once, and the HTTP
server in front of this one drains for nothing if the engine is gone (see drain.py).
"""

import os
import signal
import threading
import time

import torch.distributed
from vllm.v1.worker.cpu_worker import CPUWorker

IDLE_SECONDS = 0.5  # without a step for so long, there are no requests


class PodWorker(CPUWorker):
    """vLLM's own worker, with a rendezvous that needs no network and a stop that waits for requests."""

    last_step = 0.0

    def init_device(self):
        # vLLM makes the process group only where there is none.
        torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
        super().init_device()
        self.stop = signal.getsignal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, self.stop_when_idle)

    def execute_model(self, scheduler_output):
        self.last_step = time.monotonic()
        return super().execute_model(scheduler_output)

    def stop_when_idle(self, signum, frame):
        """Handles SIGTERM: stops, or gets the signal again later."""
        if time.monotonic() - self.last_step > IDLE_SECONDS:
            self.stop(signum, frame)
        else:
            threading.Timer(IDLE_SECONDS, os.kill, (os.getpid(), signum)).start()
