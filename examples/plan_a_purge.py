"""Print what a purge would do, and why: a plan is made from a list alone.

Nothing is deleted here. `chbackup.purge(sidecar, plan)` carries a plan out.
"""

from datetime import UTC, datetime, timedelta

import chbackup

NOW = datetime(2026, 11, 23, 6, tzinfo=UTC)


def a_month() -> list[chbackup.Archive]:
    """A full archive each Sunday, increments on the days between, the last one broken; and one of another series."""
    archives: list[chbackup.Archive] = []
    for age in range(28, -1, -1):
        made = NOW - timedelta(days=age, hours=4)
        base = "" if made.strftime("%a") == "Sun" or not archives else archives[-1].name
        archives.append(archive(f"shop-{made:%Y%m%d}", made, base))
    archives[-1] = archive(archives[-1].name, None, desc="broken (can't stat metadata.json)")
    return [archive("shop-before-upgrade", NOW - timedelta(days=90)), *archives]


def archive(name: str, created: datetime | None, required: str = "", desc: str = "tar, regular") -> chbackup.Archive:
    size = 0 if created is None else 2**20 if required else 2**30
    return chbackup.Archive(name=name, created=created, size=size, location="remote", required=required, desc=desc)


def main() -> None:
    retention = chbackup.Retention(keep_last=3, keep_weekly=2, match="shop-*", protect=["shop-20261026"])
    plan = chbackup.plan_purge(a_month(), retention, NOW)
    for decision in plan.decisions:
        print(f"{'delete' if decision.delete else 'keep':6}  {decision.archive.name:19}  {decision.reason}")
    print(f"{len(plan.delete)} to delete, {len(plan.keep)} to keep, {plan.bytes_freed / 2**30:.1f} GiB freed")


if __name__ == "__main__":
    main()
