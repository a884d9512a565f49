"""How usage is drawn and written, on every page that shows some."""

from collections.abc import Sequence

from django.utils.safestring import SafeString

from audit.admin.charts import Line, time_chart
from audit.admin.delivery_health import told
from audit.delivery import unsealed
from audit.periods import DAY, Period
from audit.usage import Usage

MANY = 500  # events that are not counted yet: more than those of the last seconds


def uncounted(*, sees_all: bool) -> str:
    """How many events the figures lack, "" when they are few; no number for who does not see all."""
    count = unsealed()
    if count < MANY:
        return ""
    return told(count) if sees_all else "Many"


def usage_chart(period: Period, points: Sequence[Usage], urls: Sequence[str]) -> SafeString:
    """The bytes of each of the period's hours or days; `urls`, one for each or none, lead to what is behind them."""
    return time_chart(
        "Bytes by the hour (UTC)" if period.step < DAY else "Bytes by the day (UTC)",
        period.starts,
        [
            Line("Uploaded", "uploaded", [shown(point.uploaded_bytes) for point in points]),
            Line("Downloaded", "downloaded", [shown(point.downloaded_bytes) for point in points]),
            Line("Saved by dedup", "saved", [shown(point.saved_bytes) for point in points]),
        ],
        step=period.step,
        urls=urls,
    )


def shown(count: int) -> int:
    """Others' events may claim sizes below zero; a chart begins there."""
    return max(count, 0)


def percent(ratio: float | None) -> str:
    return "-" if ratio is None else f"{100 * ratio:.1f} %"
