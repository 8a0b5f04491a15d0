"""The server's time zone, which its answers follow and never name."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo


def in_zone(moment: datetime, zone: str) -> datetime:
    """Return a naive time in UTC as the naive time of a zone."""
    if zone == "UTC":  # by far the most frequent, and asked for each row of each list
        return moment
    return moment.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def zero_date(zone: str) -> str:
    """Write the first moment of the year 1 in a zone: by its mean solar time, so in the west it is in the year 0."""
    offset = ZoneInfo(zone).utcoffset(datetime(2, 1, 1)) or timedelta()
    if offset >= timedelta():
        return (datetime.min + offset).isoformat(" ", "seconds")
    return f"0000-12-31 {(datetime(1, 1, 2) + offset).time().isoformat('seconds')}"
