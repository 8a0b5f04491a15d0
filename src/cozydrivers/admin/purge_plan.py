"""What a purge deletes: chbackup's own planning, told which archives are whose. Pure.

Two plans are made, because what a Backup records and what nobody records are weighed differently. Backups compete among
themselves only: a set without a Backup never pushes one with a Backup out. Orphans compete with all good sets.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any, Literal

from chbackup import Archive, ArchiveName, Retention, parse_archive_name
from chbackup.retention import Decision, Group, PurgePlan, default_group, plan_fleet

Kind = Literal["good", "suspicious", "orphan", "at work", "foreign"]
RECORDED: tuple[Kind, ...] = ("good", "suspicious")
NOT_OURS = "not ours: its name is of no application that was asked for"
ORPHAN = "an orphan: no Backup records it; --orphans lets it go"


@dataclass(frozen=True)
class App:
    """An application. `series` is what all names of its archives begin with; `trouble` says why nothing of it goes."""

    namespace: str
    name: str
    uid: str
    series: str
    storages: tuple[str, ...] = ()
    trouble: str = ""


@dataclass(frozen=True)
class Entry:
    """An archive as a Backup records it; `data_size` is None where that can't be told."""

    archive: str
    required: str = ""
    data_size: int | None = None


@dataclass(frozen=True)
class Claim:
    """What a Backup records. `stays` says why the Backup can't go with its archives, empty when it can.

    `newer` says that a newer version has written it, so that what it needs can't be told.
    """

    namespace: str
    name: str
    uid: str
    application: str
    entries: tuple[Entry, ...]
    suspicious: bool = False
    stays: str = ""
    newer: bool = False

    def __str__(self) -> str:
        return f"Backup {self.namespace}/{self.name}"


@dataclass(frozen=True)
class Known:
    """What the cluster says. `at_work` are the jobs that are not at their end, by the UID that their archives name."""

    apps: tuple[App, ...] = ()
    claims: tuple[Claim, ...] = ()
    at_work: Mapping[str, str] = field(default_factory=dict)

    def without(self, uids: Collection[str]) -> "Known":
        """The same without these Backups."""
        return replace(self, claims=tuple(claim for claim in self.claims if claim.uid not in uids))

    def holders(self) -> dict[str, list[Claim]]:
        """The Backups by the sets that they name."""
        found: dict[str, list[Claim]] = {}
        for claim in self.claims:
            names = [parse_archive_name(entry.archive) for entry in claim.entries]
            for set_name in {name.set_name for name in names if name}:
                found.setdefault(set_name, []).append(claim)
        return found


@dataclass(frozen=True)
class Rules:
    """What was asked for: what to keep, and whether orphans, and Backups with their archives, may go at all."""

    retention: Retention
    orphans: bool = False
    delete_backups: bool = False


@dataclass(frozen=True)
class Row:
    """What becomes of a set, or of an archive that is not ours, which has no application."""

    namespace: str
    application: str
    set: str
    taken: datetime | None
    size: int
    archives: tuple[str, ...]
    delete: bool
    reason: str
    backup: str = ""


@dataclass(frozen=True)
class _Role:
    """Whose an archive is, and why it is spared whatever the rules say."""

    kind: Kind
    spared: str = ""


@dataclass(frozen=True, kw_only=True)
class _Weighing(Retention):
    """The rules for archives of some roles; all others stay, and do not count unless they are `counted`."""

    roles: Mapping[str, _Role]
    candidates: Collection[Kind]
    counted: Collection[Kind]

    def spares(self, name: str) -> str | None:
        """Say why an archive stays by its role."""
        role = self.roles[name]
        return role.spared or (None if role.kind in self.candidates else role.kind)

    def series_of(self, name: str) -> Group:
        """Sets that are not counted are series of their own."""
        group, kind = default_group(name), self.roles[name].kind
        return group if kind in self.counted else replace(group, series=f"{group.series} ({kind})")


def plan(
    lists: Mapping[str, Sequence[Archive]],
    known: Known,
    rules: Rules,
    now: datetime,
    *,
    refused: Mapping[str, str] | None = None,
    needed: Collection[str] = (),
) -> PurgePlan:
    """Decide over all archives of all storages; those in `refused` are left out. `needed` are bases of local copies.

    The reasons are for people. A set is deleted whole, its increments before their bases.
    """
    roles = _roles(lists, known, rules, now, needed)
    base: dict[str, Any] = {each.name: getattr(rules.retention, each.name) for each in fields(Retention)}

    def weigh(candidates: Sequence[Kind], counted: Sequence[Kind]) -> PurgePlan:
        weighing = _Weighing(**base, roles=roles, candidates=candidates, counted=counted)
        return plan_fleet(lists, replace(weighing, group_by=weighing.series_of), now, broken=True, refused=refused)

    backups, others = weigh(RECORDED, ("good",)), weigh(("orphan",), ("good", "orphan"))
    recorded = [one for one in backups.decisions if roles[one.archive.name].kind in RECORDED]
    rest = [_told(one, roles) for one in others.decisions if roles[one.archive.name].kind not in RECORDED]
    decisions = sorted((*rest, *recorded), key=lambda decision: not decision.delete)
    return PurgePlan(tuple(decisions), {**backups.refused, **others.refused})


def _told(decision: Decision, roles: Mapping[str, _Role]) -> Decision:
    """Of what is not ours it is said that it is not ours, whatever rule would keep it."""
    return replace(decision, reason=NOT_OURS) if roles[decision.archive.name].kind == "foreign" else decision


def _roles(
    lists: Mapping[str, Sequence[Archive]],
    known: Known,
    rules: Rules,
    now: datetime,
    needed: Collection[str],
) -> dict[str, _Role]:
    archives = {archive.name: archive for listed in lists.values() for archive in listed}
    bound = _bound(known, archives)
    holders, apps = known.holders(), {app.series: app for app in known.apps}
    roles: dict[str, _Role] = {}
    for archive in archives.values():
        name = parse_archive_name(archive.name)
        app = apps.get(series_of(name)) if name else None
        if name is None or app is None:
            roles[archive.name] = _Role("foreign", NOT_OURS)
            continue
        claims, job = holders.get(name.set_name, []), known.at_work.get(name.uid, "")
        spared = (
            app.trouble
            or (job and f"{job} is at work on it")
            or bound.get(app.series)
            or bound.get(archive.name)
            or ("needed by a local increment" if archive.name in needed else "")
            or (_why_recorded_stays(archive, claims, rules) if claims else "" if rules.orphans else ORPHAN)
            or rules.retention.younger(name.taken, now)
        )
        roles[archive.name] = _Role(_kind(claims, job), spared or "")
    return roles


def series_of(name: ArchiveName) -> str:
    """What the names of an application's archives begin with; two applications never share it."""
    return default_group(str(name)).series


def series(application: str, namespace_hash: str) -> str:
    """The series of an application."""
    any_time = datetime(2000, 1, 1, tzinfo=UTC)
    return series_of(ArchiveName(application, namespace_hash, any_time, "0" * 12, 1, 0, 1, 0))


def _kind(claims: Collection[Claim], job: str) -> Kind:
    if not claims:
        return "at work" if job else "orphan"
    return "suspicious" if all(claim.suspicious for claim in claims) else "good"


def _why_recorded_stays(archive: Archive, claims: Sequence[Claim], rules: Rules) -> str:
    if len(claims) > 1:
        return f"{' and '.join(map(str, claims))} record it"
    (claim,) = claims
    if not rules.delete_backups:
        return f"{claim} records it; --delete-backups lets both go"
    if claim.stays:
        return f"{claim}: {claim.stays}"
    entry = next((entry for entry in claim.entries if entry.archive == archive.name), None)
    if entry is None or archive.broken or entry.data_size is None or entry.required != archive.required:
        return ""
    differs = archive.data_size != entry.data_size
    return f"it holds {archive.data_size} bytes of data, {claim} records {entry.data_size}" if differs else ""


def _bound(known: Known, listed: Mapping[str, Archive]) -> dict[str, str]:
    """What Backups need whose archives are not listed now, by name; by series where that can't be told (I8)."""
    entries = {entry.archive: entry for claim in known.claims for entry in claim.entries}
    required = {name: entry.required for name, entry in entries.items()}
    required |= {name: archive.required for name, archive in listed.items()}
    ours = {app.series for app in known.apps}
    bound: dict[str, str] = {}
    for claim in known.claims:
        for entry in claim.entries:
            if entry.archive in listed:
                continue
            chain = _chain(required, entry.archive)
            bound |= dict.fromkeys(chain, f"required by {entry.archive}, which {claim} records")
            name = parse_archive_name(entry.archive)
            if name and series_of(name) in ours and chain and chain[-1] not in required:
                bound[series_of(name)] = f"what {claim} requires can't be told: {chain[-1]} is not listed"
        if claim.newer:
            told = f"what {claim} requires can't be told: a newer version has written it"
            of = (claim.namespace, claim.application)
            bound |= {app.series: told for app in known.apps if (app.namespace, app.name) == of}
    return bound


def _chain(required: Mapping[str, str], name: str) -> list[str]:
    found: list[str] = []
    while (name := required.get(name, "")) and name not in found:
        found.append(name)
    return found


def rows(plan: PurgePlan, known: Known) -> list[Row]:
    """The plan by sets, those to delete first."""
    apps, holders = {app.series: app for app in known.apps}, known.holders()
    sets: dict[str, list[Decision]] = {}
    for decision in plan.decisions:
        sets.setdefault(decision.set_name, []).append(decision)
    return [_row(members, apps, holders) for members in sets.values()]


def _row(members: Sequence[Decision], apps: Mapping[str, App], holders: Mapping[str, Sequence[Claim]]) -> Row:
    first = members[0]
    name = parse_archive_name(first.archive.name)
    app = apps.get(series_of(name)) if name else None
    reason = min((one.reason for one in members), key=lambda reason: reason.startswith("same set as"))
    return Row(
        namespace=app.namespace if app else "",
        application=app.name if app else "",
        set=name.set_name if name and app else first.archive.name,
        taken=name.taken if name and app else first.archive.created,
        size=sum(one.archive.size for one in members),
        archives=tuple(one.archive.name for one in members),
        delete=first.delete,
        reason=reason,
        backup=", ".join(f"{claim.namespace}/{claim.name}" for claim in holders.get(first.set_name, ())),
    )


def applications(known: Known, names: Iterable[str]) -> list[App]:
    """The applications whose archives these are."""
    parsed = [name for name in map(parse_archive_name, names) if name]
    wanted = {series_of(name) for name in parsed}
    return [app for app in known.apps if app.series in wanted]
