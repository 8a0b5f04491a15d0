"""One step of a run: observe, decide, act, and say where things stand. What backup and restore share."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import anyio

from cozydrivers.drivers.base import Failed, Intent, Note, Outcome, Patience, Running
from cozydrivers.drivers.clickhouse import act, cleanup
from cozydrivers.drivers.clickhouse.checkpoint import Member, State
from cozydrivers.drivers.clickhouse.following import Verdict
from cozydrivers.drivers.clickhouse.look import Eyes, Scene, Sight
from cozydrivers.drivers.clickhouse.steps import Done, DropLocal, End, Go, Hold, Plan, Step, Submit, sought

LEFT = timedelta(minutes=10)
"""How long after its last submission a complete set waits for a Pod that is away and holds what was given up."""
_PAUSE = 5.0
_PATIENCE = (Patience.ABSENT, Patience.BUSY, Patience.ENGINE)


async def carry_out(eyes: Eyes, state: State, scene: Scene, steps: Sequence[Step], send: act.Send) -> Outcome | None:
    """Do what was decided, all archives side by side.

    None when every archive is done and nothing else is left, but what was given up on a Pod that stays away.
    """
    end = next((step for step in steps if isinstance(step, End)), None)
    if end is not None:
        return Failed(end.reason, end.message)
    if any(isinstance(step, Plan) for step in steps):
        moved = [Note("FailedOver", step.said, warning=True) for step in steps if isinstance(step, Plan) and step.place]
        return Intent(_intend(state, steps, scene.sights).save(), "about to submit", events=moved)
    acted = await _act(eyes, scene, steps, send)
    end = next((step for step in acted if isinstance(step, End)), None)
    if end is not None:
        return Failed(end.reason, end.message)
    now = state.replace(_member(step) for step in acted)
    return await _tidy(eyes, scene, now) or _standing(now, acted, is_cache=_only_spares_looks(state, now))


def _member(step: Step) -> Member:
    if isinstance(step, End):
        raise TypeError("an end has no member")
    return step.member


def _intend(state: State, steps: Sequence[Step], sights: Sequence[Sight]) -> State:
    members = [_intended(step, sight) for step, sight in zip(steps, sights, strict=True)]
    left = [step.given_up for step in steps if isinstance(step, Plan) and step.given_up]
    return state.model_copy(update={"members": tuple(members), "debris": (*state.debris, *left)})


def _intended(step: Step, sight: Sight) -> Member:
    """Only what is certain not to have been sent is sent by the call that follows this intent, to the Pod seen now."""
    member = _member(step)
    place = (step.place if isinstance(step, Plan) else None) or sight.place
    if isinstance(step, Plan | Submit) and place is not None:
        return member.submitted(state="sending").model_copy(update={"pod": place.pod, "pod_uid": place.pod_uid})
    return sought(member) if member.submission.state == "sending" else member


async def _act(eyes: Eyes, scene: Scene, steps: Sequence[Step], send: act.Send) -> list[Step]:
    async def one(step_and_sight: tuple[Step, Sight]) -> Step:
        step, sight = step_and_sight
        if isinstance(step, Submit):
            return await act.submit(eyes, step.member, sight, send)
        if isinstance(step, DropLocal):
            trouble = await act.drop_local(eyes, sight.place, step.member.submission.archive)
            return Hold("LocalCopyLeft", trouble, 2.0, step.member, Patience.ABSENT) if trouble else Go(step.member)
        return step

    return await anyio.amap(one, zip(steps, scene.sights, strict=True))


async def _tidy(eyes: Eyes, scene: Scene, state: State) -> Outcome | None:
    """One round over what was given up, while nothing of ours runs."""
    if not state.debris or any(sight.verdict is Verdict.RUNNING for sight in scene.sights):
        return None
    swept = await cleanup.sweep(eyes, state)
    if swept.away and _is_done(state, scene) and _has_waited(state, eyes.run.now):
        return None
    pause = _PAUSE if swept.said else 1.0
    return Running("CleanupPending", swept.said or "cleaning up", pause, swept.state.save(), Patience.ABSENT)


def _is_done(state: State, scene: Scene) -> bool:
    """Whether a set is complete and was looked at for the last time."""
    finished = all(member.stage == "done" for member in state.members)
    return state.kind == "backup" and finished and all(sight.remote is not None for sight in scene.sights)


def _has_waited(state: State, now: datetime) -> bool:
    return all(now - member.submission.at >= LEFT for member in state.members)


def _only_spares_looks(before: State, now: State) -> bool:
    """Whether all that has become known is that a submission was taken up, or that a local copy is gone.

    Both are found again by the archive's name. A proof is not: the local copy, which is part of it, is deleted next.
    """
    pairs = zip(before.members, now.members, strict=True)
    return before.debris == now.debris and all(_is_found_again(old, new) for old, new in pairs)


def _is_found_again(old: Member, new: Member) -> bool:
    old = old.model_copy(update={"away_since": new.away_since})
    if (old.stage, new.stage) == ("proven", "done"):
        return old.submission == new.submission
    taken_up = old.submission.state == "sending" and new.submission.state == "sent"
    return old == new or (taken_up and old.stage == new.stage == "making")


def _standing(state: State, steps: Sequence[Step], *, is_cache: bool) -> Outcome | None:
    if all(isinstance(step, Done) for step in steps):
        return None
    holds = [step for step in steps if isinstance(step, Hold)]
    if not holds or any(isinstance(step, Go) for step in steps):
        return Running("InProgress", "", 0.0, state.save(), is_cache=is_cache)
    worst = min(holds, key=lambda hold: _PATIENCE.index(hold.patience))
    soonest = min(hold.retry_after for hold in holds)
    message = worst.message if worst.patience is not Patience.ENGINE else "; ".join(hold.message for hold in holds)
    return Running(worst.reason, message, soonest, state.save(), worst.patience, is_cache=is_cache)
