"""A cluster with MariaDB applications, mariadb-operator and its Jobs, and controllers as processes that can die."""

from collections.abc import Mapping
from typing import Any

from tests.cozydrivers.mariadb_stage import APP, BUCKET, CLASS, ENDPOINT, STRATEGY, MariaDBStage
from tests.cozydrivers.stage import TENANT
from tests.simulation.ground import Ground
from tests.simulation.mariadb.engine import Engine, Pods
from tests.simulation.mariadb.observer import Observer
from tests.simulation.mariadb.store import Bucket, Reached
from tests.simulation.process import Meet
from tests.simulation.story import Story

from cozydrivers.api import apps, strategy
from cozydrivers.api.backups import Backup, BackupClass, BackupJob, RestoreJob
from cozydrivers.api.base import KubeObject
from cozydrivers.drivers.base import Driver
from cozydrivers.drivers.mariadb import MariaDBDriver
from cozydrivers.drivers.mariadb.naming import server_of
from cozydrivers.testing.buckets import ACCESS_KEY, SECRET_KEY
from cozydrivers.testing.dumps import FakeDatabase
from cozydrivers.testing.mariadb import Version

SECOND_APP = "other"
TABLES = ("orders", "items")
PATIENCE = 300.0
"""Seconds that a controller waits for the engine."""


class World(Ground, MariaDBStage):
    """A stage with an observer, whose controllers are processes of their own.

    `by_hand` are the UIDs of Jobs that somebody has deleted or resumed: what they do then is nobody's fault. `deleted`
    are the names of the Backups that users have deleted.
    """

    observer: Observer

    def __init__(
        self,
        story: Story,
        *,
        version: Version = "25.10.2",
        apps: int = 1,
        elected: bool = False,
        parameters: Mapping[str, str] | None = None,
        template: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(version)
        self.begin(story, elected=elected)
        self.bucket: Bucket = Bucket(BUCKET, endpoint=ENDPOINT)
        self.pods: Pods = Pods(self.cluster, self.bucket)
        self.engine = Engine(self.cluster, self.pods, version)
        self.operator, self.runner = self.engine.operator, self.engine.runner
        self.apps = (APP, SECOND_APP)[:apps]
        self.given = {"deletionPolicy": "Delete", **(parameters or {})}
        self.wanted = dict(template or {})
        self.by_hand: set[str] = set()
        self.deleted: set[str] = set()
        self.observer = Observer(self)
        self.pods.before_load = self.observer.about_to_load

    async def set_up(self) -> None:
        """Deploy it all; each server has tables with rows of its own."""
        await super().set_up()
        for app in self.apps[1:]:
            await self.secret(
                f"{app}-mariadb-backup-creds", AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY
            )
            await self.secret(f"{app}-mariadb-backup-ca", **{"ca.crt": "PEM"})
            await self.deploy(app)
        binding = {**self.seed[1]["spec"]["strategies"][0], "parameters": self.given}
        self.patch(BackupClass, CLASS, {"spec": {"strategies": [binding]}}, "")
        self.patch(strategy.MariaDB, STRATEGY, {"spec": {"template": self.wanted}}, "")
        for number, app in enumerate(self.apps):
            database = self.database(app)
            database.databases.clear()
            for offset, table in enumerate(TABLES):
                database.add("shop", table, (10 * number + offset, f"{app}'s"), (10 * number + offset + 2, "b"))
        self.observer.begin()

    def database(self, app: str) -> FakeDatabase:
        """The server of an application."""
        return self.pods.database(TENANT, server_of(app))

    def drivers(self, meet: Meet) -> list[Driver]:
        """That of MariaDB."""
        return [MariaDBDriver(objects=Reached(self.bucket, meet).open, timeout=PATIENCE)]

    async def beside(self) -> None:
        """The operator and all the rest that is no controller of ours."""
        await self.engine.run(self.observer.look)

    # What users do

    def backs_up(self, name: str, app: str = APP) -> None:
        """Create a BackupJob."""
        resource = apps.MariaDB.resource
        reference = {"apiGroup": resource.group, "kind": resource.kind, "name": app}
        self.create(BackupJob, name, {"applicationRef": reference, "backupClassName": CLASS})

    def restores(self, name: str, backup: str, target: str = "", **options: Any) -> None:
        """Create a RestoreJob, in place unless it has a target."""
        resource = apps.MariaDB.resource
        reference = {"apiGroup": resource.group, "kind": resource.kind, "name": target}
        to = {"targetApplicationRef": reference} if target else {}
        more = {"options": options} if options else {}
        self.create(RestoreJob, name, {"backupRef": {"name": backup}, **to, **more})

    def deletes(self, kind: type[KubeObject], name: str) -> None:
        """Delete an object that exists."""
        if kind is Backup:
            self.deleted.add(name)
        super().deletes(kind, name)

    def writes(self, app: str, number: int) -> None:
        """Other rows, and a table that no earlier dump has."""
        self.story.tell(f"user: writes into {app}")
        database = self.database(app)
        database.databases.setdefault("shop", {})["orders"] = [(number, "written")]
        database.add("shop", "items", (number, "more"))
        database.add("shop", f"later{number % 3}", (number,))
        self.observer.changed_by_hand()

    def loses_tables(self, app: str) -> None:
        """Drop the tables of an application."""
        self.story.tell(f"user: loses the tables of {app}")
        self.database(app).databases["shop"] = {}
        self.observer.changed_by_hand()
