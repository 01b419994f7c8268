"""Database backend of the embedded server: Django's for PostgreSQL, which starts the server when it is needed."""

from typing import Any

from django.conf import settings
from django.db.backends.postgresql import base
from django.db.utils import OperationalError
from psycopg import OperationalError as PsycopgOperationalError

from config import embedded


class DatabaseWrapper(base.DatabaseWrapper):
    _address: dict[str, str] | None = None  # of all connections of a process; workers inherit it

    def get_connection_params(self) -> dict[str, Any]:
        if DatabaseWrapper._address is None:
            self._locate(embedded.START_SECONDS)
        self.settings_dict.update(DatabaseWrapper._address or {})
        # A statement that fails is not repeated in the server's log: what people typed stands in it.
        return {"options": "-c log_min_error_statement=panic"} | super().get_connection_params()

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        try:
            return super().get_new_connection(conn_params)
        except (OperationalError, PsycopgOperationalError) as error:
            if "does not exist" in str(error):  # the server runs, it is the database that lacks
                raise
            try:
                self._locate(embedded.RESTART_SECONDS)
            except RuntimeError as reason:
                raise OperationalError(str(reason)) from error
            return super().get_new_connection(self.get_connection_params())

    def _locate(self, seconds: float) -> None:
        DatabaseWrapper._address = embedded.ensure_running(settings.DATA_DIR, seconds)
