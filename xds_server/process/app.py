"""The process: from options to a desk that runs, and its end in order.

Start: policy and memory first, then the ports, so that what cannot work is said at once and in one line. Ready means
that a decision is in force. Stop: Envoys are told to go elsewhere and keep what they have; the memory is saved last.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import time

from xds_server.history.archive import Archive
from xds_server.history.chronicle import Chronicle
from xds_server.operator.admin_server import CannotListenError
from xds_server.operator.logs import set_up
from xds_server.operator.views import weights_json
from xds_server.process.admin_access import AdminAccessError
from xds_server.process.desk import Desk
from xds_server.process.port_tls import PortTlsError
from xds_server.process.startup import Options, StartError, first_policy, kept_memory, kept_orders, open_archive, shown
from xds_server.store.directory import StateDirectory, StateError
from xds_server.store.state import State
from xds_server.transport.server import BindError


def run(options: Options) -> None:
    """Serve until SIGINT or SIGTERM. Raises StartError."""
    log = set_up(options.log_level, options.log_format, sys.stderr)
    with contextlib.ExitStack() as stack:
        try:
            state = None
            if options.state_dir is not None:
                directory = stack.enter_context(StateDirectory(options.state_dir, log.warning))
                state = stack.enter_context(State(directory, time.time))
            archive = stack.enter_context(open_archive(options, log))
            asyncio.run(_serve(options, state, archive, log))
        except (StateError, BindError, CannotListenError, AdminAccessError, PortTlsError) as error:
            raise StartError(str(error)) from error


async def _serve(options: Options, state: State | None, archive: Archive, log: logging.Logger) -> None:
    memory = kept_memory(state)
    first = first_policy(options, state, memory.trial if memory is not None else "")
    chronicle = Chronicle(archive, weights_json, time.time, log.error)
    desk = Desk(options, memory, kept_orders(state), chronicle, log)
    desk.keep_in(state)
    desk.begin(first)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        xds_port = await desk.xds.start()
        admin = await desk.admin.start()
        await desk.run(stop, {"xds": shown(options.xds[0], xds_port), "admin": str(admin)})
    finally:
        await desk.xds.stop()
        await desk.admin.stop()
