"""Finishes the requests of an engine before it stops (vLLM: `--middleware drain.Drain`).

On SIGTERM vLLM 0.15.1 ends its engine first and then waits for answers in flight, which never
arrive. With this, and with `pod_worker.PodWorker` in the engine's own process, requests in flight
are answered, new ones are refused with 503, and the processes exit after the last answer.
"""

import asyncio
import os
import signal


class Drain:
    """Counts the requests in flight, and delays a SIGTERM while there are any."""

    def __init__(self, app):
        self.app = app
        self.requests = 0
        self.ready = False
        self.stopping = False

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        if not self.ready:  # vLLM has set its own handlers before it serves the first request
            self.ready = True
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.stop)
        if self.stopping:
            await send({"type": "http.response.start", "status": 503, "headers": [(b"connection", b"close")]})
            return await send({"type": "http.response.body", "body": b"this pod is stopping\n"})
        self.requests += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.requests -= 1
            self.stop_when_idle()

    def stop(self):
        """Handles SIGTERM."""
        self.stopping = True
        self.stop_when_idle()

    def stop_when_idle(self):
        """Stops vLLM by its own SIGINT handler, which it uses for both signals."""
        if self.stopping and self.requests == 0:
            os.kill(os.getpid(), signal.SIGINT)
