"""A team of many, made in a few statements."""

from django.db import connection


def fill(team, creator, *, people=0, keys=0, entries=0):
    """Add Editors to a team, keys of `creator` that open with nothing, and entries of 70 days to its log."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO accounts_user (id, username, name, email, password, is_superuser, is_staff, is_active, "
            "date_joined) SELECT gen_random_uuid(), 'person-' || n, '', '', '', false, false, true, now() "
            "FROM generate_series(1, %s) n",
            [people],
        )
        cursor.execute(
            "INSERT INTO workspaces_membership (workspace_id, user_id, role) "
            "SELECT %s, id, 2 FROM accounts_user WHERE username LIKE 'person-%%'",
            [team.pk],
        )
        cursor.execute(
            "INSERT INTO apikeys_apikey (id, workspace_id, creator_id, name, prefix, digest, ciphertext, "
            "encryption_key_id, revoke_reason, refused_address, created_at) SELECT gen_random_uuid(), %s, %s, "
            "'bulk ' || n, 'ul_' || lpad(to_hex(n), 8, '0'), sha256(n::text::bytea), '\\x00', 'k1', '', '', now() "
            "FROM generate_series(1, %s) n",
            [team.pk, creator.pk, keys],
        )
        cursor.execute(
            "INSERT INTO workspaces_activity (workspace_id, at, kind, user_id, address, client, target_id, "
            "target_name, details) SELECT %s, now() - interval '1 minute' * %s * (%s - n), 'key.created', %s, "
            "'', '', '', 'bulk ' || n, '{}' FROM generate_series(1, %s) n",
            [team.pk, 100_000 / max(1, entries), entries, creator.pk, entries],
        )
