"""``JANUSJIT_LOG``: events as log lines.

Owns the translation from events to lines of the standard library's loggers ``janusjit.<topic>``. Invariant: a topic
that was not asked for costs nothing, because nothing is subscribed, and adds nothing to the log of a program that has
logging show its own messages.
"""

from __future__ import annotations

import logging
import sys

from janusjit.runtime.events import Event, Evicted, FellBack, GuardFailed, Profiled, Raised, Specialized, Stream


def log_events(stream: Stream, topics: frozenset[str]) -> None:
    """Log the events of a stream that belong to ``topics``, to standard error unless logging is configured."""
    root = logging.getLogger("janusjit")
    if root.level == logging.NOTSET:
        root.setLevel(logging.WARNING)  # what the program sets for its own messages is not for these
    if not topics:
        return
    if not root.handlers and not logging.getLogger().handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        root.addHandler(handler)
    for topic in topics:
        logging.getLogger(f"janusjit.{topic}").setLevel(logging.INFO)

    def log(event: Event) -> None:
        topic = topic_of(event)
        if topic in topics:
            logging.getLogger(f"janusjit.{topic}").info("%s", line(event))

    stream.subscribe(log)


def topic_of(event: Event) -> str:
    """Return the ``JANUSJIT_LOG`` topic of an event."""
    if isinstance(event, Profiled):
        return "profile"
    if isinstance(event, Specialized):
        return "compile"
    if isinstance(event, FellBack):
        return "capture"
    if isinstance(event, GuardFailed):
        return "guard" if event.stage == "entry" else "deopt"
    return "deopt" if isinstance(event, Evicted | Raised) else "profile"


def line(event: Event) -> str:
    """Return an event as one line."""
    which = "" if event.specialization is None else f" specialization {event.specialization}"
    return f"{event.function} call {event.call}:{which} {event.outcome}: {event.cause.text} [{event.cause.code}]"
