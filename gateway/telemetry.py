"""Logging of the processes: one JSON object a line on standard error, with a time and what happened."""

import logging
import sys

import structlog


def configure(*, quiet: bool = False) -> None:
    """Log from the level of information on; ``quiet`` keeps only warnings and worse."""
    level = logging.WARNING if quiet else logging.INFO
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
