"""A NATS server of a test's own, to be killed and started again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Self

from ops.stack import nats
from ops.stack.home import Home
from ops.stack.ports import Ports
from tapehouse.settings import Nats, Settings
from tapehouse.stream.bus import Bus
from tapehouse.stream.topology import provision

_READY_S = 30


class Broker:
    """As the platform runs it, with its users and every write synced; always on the same port and store."""

    def __init__(self, folder: Path) -> None:
        self._home = Home(folder)
        self._port = Ports(self._home, {"nats": 0}).take("nats", 0)
        self.process: asyncio.subprocess.Process | None = None
        passwords = {user: nats.password(self._home, user) for user in nats.GRANTS}
        self.settings = Settings(
            home=self._home.folder, nats=Nats(url=f"nats://127.0.0.1:{self._port}", passwords=passwords)
        )

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def start(self) -> None:
        """Start it and return when JetStream answers."""
        config = self._home.conf("nats") / "nats.conf"
        config.write_text(nats.configuration(self._home, self._port))
        with self._home.log("nats").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                nats.binary(), "--config", str(config), stdout=log, stderr=log
            )
        bus = await Bus.connect(self.settings, "admin", _READY_S)
        await bus.js.account_info()
        await bus.close()

    async def kill(self) -> None:
        """SIGKILL; does nothing where it does not run."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def provision(self, settings: Settings | None = None) -> None:
        """Make the streams, the state and the consumers."""
        bus = await Bus.connect(self.settings, "admin")
        await provision(bus, settings or self.settings)
        await bus.close()
