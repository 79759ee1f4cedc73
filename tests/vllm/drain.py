"""Finishes the requests of an engine before it stops (vLLM: `--middleware drain.Drain`).

At a SIGTERM vLLM 0.15.1 ends its engine first and then waits for the answers that are under way, which never come. With
this, and with `pod_worker.PodWorker` in the engine's own process, requests under way are answered, new ones are refused
with 503, and the processes end when the last answer is out.
"""

import asyncio
import os
import signal


class Drain:
    """Counts the requests under way, and holds a SIGTERM back while there are any."""

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
        """Stops vLLM by its own handler of SIGINT, which it has for both signals."""
        if self.stopping and self.requests == 0:
            os.kill(os.getpid(), signal.SIGINT)
