"""Types of command-line arguments that several commands take, and arguments that several have."""

from argparse import ArgumentParser, ArgumentTypeError
from datetime import UTC, datetime

from audit.names import STREAM, stream_name


def moment(text: str) -> datetime:
    """Read a date or a time, as of UTC when it names no offset; raise ArgumentTypeError."""
    try:
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ArgumentTypeError(f"{text!r} is not a time such as 2026-11-24 or 2026-11-24T08:00:00Z") from error


def add_consumer_arguments(parser: ArgumentParser, *, consumer: str) -> None:
    """Add --stream and --consumer."""
    parser.add_argument("--stream", type=stream_name, default=STREAM, help="(default: %(default)s)")
    parser.add_argument(
        "--consumer",
        type=stream_name,
        default=consumer,
        help="the durable consumer to read through; made when there is none (default: %(default)s)",
    )


def add_time_arguments(parser: ArgumentParser) -> None:
    """Add --from and --to: half-open, as `start` and `end`."""
    parser.add_argument("--from", dest="start", type=moment, help="only events from this time on (UTC)")
    parser.add_argument("--to", dest="end", type=moment, help="only events before this time (UTC)")
