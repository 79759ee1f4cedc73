"""An engine's worker for pods of the testbed (vLLM: `--worker-cls pod_worker.PodWorker`).

It listens on no public address. vLLM prepares for several workers even if there is only one: their
rendezvous is a TCP port that torch opens on every address of the machine. This one uses a
rendezvous in memory.

It finishes its requests before it stops. The testbed signals all processes of a pod at once, and
the HTTP server in front of the engine would drain in vain without it (see drain.py).
"""

import os
import signal
import threading
import time

import torch.distributed
from vllm.v1.worker.cpu_worker import CPUWorker

IDLE_SECONDS = 0.5  # without a step for so long, there are no requests


class PodWorker(CPUWorker):
    """vLLM's own worker, with a rendezvous without network and a stop that waits for requests."""

    last_step = 0.0

    def init_device(self):
        # vLLM creates the process group only if there is none.
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
