#!/usr/bin/env python
"""Django's command line."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import OperationalError

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as problem:
        sys.exit(f"Keyhouse cannot start.\n{problem}")
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell reports it, and no traceback
    except OperationalError as problem:
        sys.exit(f"The database does not answer.\n{problem}")


if __name__ == "__main__":
    main()
