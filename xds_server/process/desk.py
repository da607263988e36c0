"""Where everything in the process crosses. Decides nothing.

    policy file ─► PolicyReader ─┐                       ┌► Publisher ─► XdsServer ─► Envoys
    LRS, HDS, ALS, agents ───────┤
    probes ─► Prober ────────────┼► ControlLoop ─► Desk ─┼► prober, resolver, watchers: what to watch next
    DNS ─► Resolver ─────────────┘                       ├► events: log, EventLog, metrics ─► AdminServer
    orders ─► OrderDesk ─────────┘                       └► Keeper, Chronicle ─► state directory

What arrives is handed to the loop, what the loop decides to those who want it; and the admin side sees the process
through the desk (`operator.source.Source`). It owns the parts and runs them until the process is told to stop.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import time
from collections.abc import Mapping
from functools import partial
from secrets import token_bytes
from typing import Protocol

from xds_server.control_loop import ControlLoop
from xds_server.controller import Controller
from xds_server.decision.watchers import choose
from xds_server.decision.what_if import Loss, losses
from xds_server.history.chronicle import Chronicle
from xds_server.model import Decision, Event, Observation, Resolution
from xds_server.operator.admin_server import AdminServer
from xds_server.operator.client_words import ClientWords, client_news
from xds_server.operator.events import EventLog
from xds_server.operator.gauges import Latest, counted
from xds_server.operator.logs import log_event
from xds_server.operator.metrics import Metrics
from xds_server.operator.order_desk import OrderDesk
from xds_server.operator.signal_log import SignalLog
from xds_server.operator.source import NotTakenError, Retried
from xds_server.operator.views import PolicyStatus
from xds_server.orders.types import Orders
from xds_server.policy.types import Policy
from xds_server.process.admin_access import AdminAccess
from xds_server.process.doorkeeper import Doorkeeper
from xds_server.process.edits import Edits
from xds_server.process.port_tls import PortTls
from xds_server.process.startup import First, Options, fit, saver, shown
from xds_server.rollout.quarantine import Held
from xds_server.signals.agents import BadReportError, Sender
from xds_server.signals.dns import Resolver
from xds_server.signals.policy_reader import Accepted, PolicyReader, Reading
from xds_server.signals.probes import Prober
from xds_server.signals.services import Signal, SignalServices
from xds_server.signals.tls_files import TlsFiles
from xds_server.snapshot.health_checks import specifier
from xds_server.step import Memory, Outcome
from xds_server.store.keeper import Keeper
from xds_server.store.record_files import RECORD
from xds_server.store.recorder import Recorder
from xds_server.store.state import KeptPolicy, State
from xds_server.transport.clients import ClientEvent, ClientStatus
from xds_server.transport.options import TransportOptions
from xds_server.transport.publisher import Publisher
from xds_server.transport.server import XdsServer

now = time.monotonic


class _Part(Protocol):
    """Something that runs until it is cancelled."""

    async def run(self) -> None:
        """Run."""


class Desk:
    """Where everything crosses: hands what arrives to the loop, and what the loop decides to those who want it."""

    def __init__(
        self, options: Options, memory: Memory | None, orders: Orders, history: Chronicle, log: logging.Logger
    ) -> None:
        self._log = log
        self._history = history
        self._options = options
        self._controller = Controller(memory, orders, time.time() - now())
        self._loop = ControlLoop(self._controller, now, self._decided)
        self._orders = OrderDesk(self._controller, self._loop.order, (now, time.time), self._tell)
        self._publisher = Publisher()
        self._prober = Prober(self._observed, now)
        self._resolver = Resolver(self._resolved, now)
        self._reader = PolicyReader(options.policy, self._read, options.resources)
        self._keeper: Keeper | None = None
        self._recorder: Recorder | None = None
        self._door = Doorkeeper(self._tell, lambda service: self._metrics.denied(service), now)  # noqa: PLW0108  (made below)
        self._tls = PortTls(options.tls, self._tell, time.time, now) if options.tls is not None else None
        self._signals = self._signal_services()
        self._said = SignalLog()
        self._client_words = ClientWords()
        self._events = EventLog(started=time.time())
        self._metrics = Metrics(self._latest)
        self._service_tls: Mapping[str, TlsFiles] = {}
        self._edits = Edits(str(options.policy))
        self._ready = asyncio.Event()
        self.xds = self._xds_port(options)
        self._loop.audience = self.xds
        self._access = AdminAccess(options.access, self._tell, self._metrics.admin_denied, time.time, now)
        self.admin = AdminServer(
            self, *options.admin, options.admin_names, door=self._access.door, https=self._access.https
        )

    def _signal_services(self) -> SignalServices:
        return SignalServices(
            self._signalled,
            self._door.view_of,
            now,
            partial(choose, salt=token_bytes(16)),
            specifier,
            objection=self._door.objection,
        )

    def _xds_port(self, options: Options) -> XdsServer:
        return XdsServer(
            shown(*options.xds),
            assign=self._door.assign,
            publisher=self._publisher,
            on_event=self._client_said,
            services=self._signals.handlers(),
            credentials=self._tls.credentials if self._tls is not None else None,
            visible=self._door.visible,
            options=TransportOptions(max_connection_age_s=options.max_connection_age_s, collect_seldom=True),
        )

    def keep_in(self, state: State | None) -> None:
        """Keep the controller's memory there from now on."""
        if state is not None:
            self._keeper = Keeper(state, self._controller.memory, now, self._log.error)
            self._orders.save = saver(state)
        directory, limit = self._options.state_dir, self._options.record_bytes
        if directory is not None and limit:
            clocks = (now, time.time)
            self._recorder = Recorder(directory / RECORD, limit, self._controller, clocks, self._log.error)
            self._recorder.begin_if_due()
            self._loop.recorder = self._recorder

    def begin(self, first: First) -> None:
        """Put the first policy in force, before anybody can connect."""
        self._read(first.policy)
        self._loop.step()
        if (event := first.event(now())) is not None:
            self._tell(event)
        if first.refused is not None:
            self._edits.rolled_back_before(first.refused, first.reason)
            self._keep_refusal(first.refused.policy, first.reason)
        if first.trial is not None:
            self._read(first.trial)
            self._loop.step()

    async def run(self, stop: asyncio.Event, addresses: dict[str, str]) -> None:
        """Run all parts until `stop`; say on standard output when ready."""
        async with asyncio.TaskGroup() as group:
            parts: list[_Part] = [
                self._loop,
                self._prober,
                self._resolver,
                self._reader,
                self._signals,
                self._history,
                self._orders,
                self._access,
            ]
            parts += [part for part in (self._keeper, self._recorder, self._tls) if part is not None]
            tasks = [group.create_task(part.run(), name=type(part).__name__) for part in parts]
            tasks.append(group.create_task(self._announce(addresses)))
            await stop.wait()
            self._signals.close()
            self._tell(Event("server.stopping", now(), "stopping: Envoys keep what they have"))
            for task in tasks:
                task.cancel()
        await self._orders.flush()

    async def _announce(self, addresses: dict[str, str]) -> None:
        await self._ready.wait()
        scheme = "http" if self._access.https is None else "https"
        words = f"serving xDS on {addresses['xds']}, admin on {scheme}://{addresses['admin']}/"
        self._tell(Event("server.ready", now(), words))
        gc.freeze()  # a full collection would go through the policy and all decisions, for nothing, at every edit
        print(json.dumps({"event": "ready", **addresses, "pid": os.getpid()}), flush=True)  # noqa: T201

    # What arrives.

    def _read(self, reading: Reading) -> None:
        """Take what the policy file says now."""
        reading = fit(reading, self._options)
        self._metrics.policy_read(accepted=isinstance(reading, Accepted))
        step = self._edits.read(reading, now())
        for event in step.events:
            self._tell(event)
        if step.policy is not None:
            self._loop.put(step.policy)

    def _in_force(self, policy: Policy) -> None:
        """Have all parts follow a policy that is in force, and keep it for a restart."""
        self._door.follow(policy)
        reading = self._edits.in_force(policy)
        if reading is not None:
            self._service_tls = reading.tls
            self._prober.set_tls(reading.tls)
        self._signals.follow(policy)
        self.xds.reassign()
        if reading is not None and self._keeper is not None:
            resources = tuple((file.source, file.text) for file in reading.resources)
            self._keeper.changed(KeptPolicy(reading.text, resources, policy.digest))

    def _keep_refusal(self, policy: Policy, reason: str) -> None:
        if self._keeper is not None:
            self._keeper.refused(policy.digest, reason)

    def _observed(self, seen: Observation) -> None:
        self._metrics.probe(seen)
        self._said.add(seen)
        self._loop.put(seen)

    def _signalled(self, signal: Signal) -> None:
        self._said.add(signal)
        if self._options.live_signals:
            self._loop.put(signal)

    def _resolved(self, resolution: Resolution) -> None:
        self._loop.put(resolution)

    def _client_said(self, said: ClientEvent) -> None:
        self._metrics.client_event(said)
        news = client_news(said)
        if news is not None:
            self._loop.put(news)
        event = self._client_words.event(said, now())
        if event is not None:
            self._tell(event)

    # What was decided.

    def _decided(self, outcome: Outcome) -> None:
        for event in outcome.events:
            self._tell(event)
        if outcome.promoted is not None:
            self._in_force(outcome.promoted)
        if outcome.refused is not None:
            policy, reason = outcome.refused
            if self._edits.roll_back(policy.digest, reason):
                self._keep_refusal(policy, reason)
        if self._edits.on_trial(self._controller.candidate) and self._keeper is not None:
            self._keeper.changed()
        if outcome.targets is not None:
            self._prober.set_targets(outcome.targets)
            self._signals.set_targets(outcome.targets)
            self._said.forget_except(outcome.targets)
            self._metrics.forget_except((target.service, target.region) for target in outcome.targets)
        if outcome.names is not None:
            self._resolver.set_names(outcome.names)
        if outcome.decision is not None:
            self._metrics.decided(self._loop.step_seconds, outcome.decision, now())
            self._history.decided(outcome.decision, self._edits.status.digest or "", now())
        self._orders.decided(outcome.orders, outcome.answers)
        self._publish(outcome)
        if self._keeper is not None and (outcome.decision is not None or outcome.events):
            self._keeper.changed()
        if self._controller.decision is not None:
            self._ready.set()

    def _publish(self, outcome: Outcome) -> None:
        """Hand on what Envoys get; the end of a trial last, so that its cohort does not see the old policy again."""
        self._publisher.kept_back = {(held.view, held.key, held.version) for held in self.quarantined()}
        self._publisher.withdraw(outcome.gone)
        self._publisher.publish(outcome.snapshots)
        trial = outcome.trial
        self._publisher.trial(trial.snapshots if trial else {}, trial.members if trial else frozenset())

    def _tell(self, event: Event) -> None:
        wall = time.time()
        self._events.add(event, wall)
        self._history.happened(event, wall)
        self._metrics.event(event)
        log_event(self._log, event)

    # What the admin side may see (operator.source.Source).

    def now(self) -> float:
        """Return the clock of the values below."""
        return now()

    def waiting_for(self) -> str | None:
        """Return why the process is not ready."""
        return None if self._ready.is_set() else "waiting for the first evidence of every region"

    def decision(self) -> Decision | None:
        """Return the decision in force."""
        return self._controller.decision

    async def losses(self, demand: float) -> tuple[Loss, ...]:
        """Return what the loss of each region would do; worked out in a thread, so that decisions are not late."""
        cases = self._controller.cases()
        return await asyncio.to_thread(lambda: tuple(loss for case in cases for loss in losses(case, demand)))

    def policy(self) -> PolicyStatus:
        """Return the policy's state."""
        return self._edits.status

    def events(self) -> EventLog:
        """Return the recent events."""
        return self._events

    def history(self) -> Chronicle:
        """Return what is kept of the past."""
        return self._history

    def clients(self) -> tuple[ClientStatus, ...]:
        """Return who is connected."""
        return self.xds.clients()

    async def metrics(self) -> bytes:
        """Return the metrics."""
        return await self._metrics.render()

    def _latest(self) -> Latest:
        """Return what metrics show of what is."""
        return Latest(
            self.decision(),
            self.policy(),
            ready=self._ready.is_set(),
            clients=counted(self.clients()),
            quarantined=len(self.quarantined()),
            void_probes=self._prober.void,
            sources=self._signals.status(),
            certificates=self._certificates(),
            handshakes=self._tls.handshakes if self._tls is not None else 0,
            orders=self._controller.orders,
        )

    def signals(self) -> SignalLog:
        """Return what each source last said."""
        return self._said

    def _certificates(self) -> dict[str, float]:
        """Return when each certificate of ours expires, in seconds since 1970."""
        ends = {f"services.{name}": found.ends for name, found in self._service_tls.items()}
        ends |= {"xds": self._tls.ends if self._tls is not None else None, "admin": self._access.ends}
        return {name: at for name, at in ends.items() if at is not None}

    def quarantined(self) -> tuple[Held, ...]:
        """Return what is kept back."""
        return self._controller.quarantined

    def order_desk(self) -> OrderDesk:
        """Return where orders are given."""
        return self._orders

    def retry(self, author: str) -> Retried:
        """Try again what Envoys rejected: what is kept back, what a client keeps out, a policy that was rolled back."""
        rejecting = sum(any(status.rejected for status in client.types) for client in self.clients())
        again = self._edits.retry()
        retried = Retried(len(self.quarantined()), rejecting, again.digest if again is not None else None)
        self.xds.retry()
        self._loop.retry()
        if again is not None:
            self._loop.put(again)
        and_policy = f", and policy {again.digest}" if again is not None else ""
        what = f"{retried.quarantined} resources and {rejecting} clients tried again{and_policy}"
        fields = (("author", author),) if author else ()
        self._tell(Event("operator.retry", now(), f"{author or 'an operator'} has {what}", fields=fields))
        return retried

    def report(self, body: bytes, sender: str, address: str) -> int:
        """Take an agent's reports."""
        try:
            return self._signals.agents.take_json(body, Sender(sender, address))
        except BadReportError as error:
            raise NotTakenError(str(error)) from error
