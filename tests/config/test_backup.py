"""`manage.py backup` and `restore`: dump, wipe, restore, and a key from before works."""

import shutil
import signal

import httpx
import pytest

from tests.live import Postgres, Server


def test_after_a_dump_and_a_wipe_a_key_from_before_works_and_a_revoked_one_does_not(new_server, tmp_path):
    server = new_server()
    good, revoked = server.new_key("good"), server.new_key("revoked")
    headers = {"Authorization": f"Bearer {revoked}"}
    assert httpx.delete(f"{server.url}/api/api-keys/current", headers=headers).status_code == 204
    weights = server.data_dir / "checkpoints" / "ab" / "weights.pt"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights" * 1000)
    someone = server.sign_in()
    file, tar = tmp_path / "keyhouse.dump", tmp_path / "checkpoints.tar"
    said = server.manage("backup", str(file), "--checkpoints", str(tar)).stdout  # beside the running server
    kept = server.data_dir / "api-key-encryption-keys"
    assert str(kept) in said
    assert file.stat().st_mode & 0o077 == tar.stat().st_mode & 0o077 == 0
    content = file.read_bytes()
    encryption_key = kept.read_text().strip().partition(":")[2]
    assert encryption_key.encode() not in content
    assert good.encode() not in content
    assert someone.http.cookies["keyhouse_session"].encode() not in content

    in_use = server.manage("restore", str(file), "--replace", check=False)
    assert in_use.returncode
    assert "stop every server" in in_use.stderr
    assert server.get(good).status_code == 200
    server.stop()

    # The whole disk is lost, except the backup and the copy of the keys.
    keys = kept.read_text().strip()
    shutil.rmtree(server.data_dir)
    other = new_server("new-disk", wait=False, API_KEY_ENCRYPTION_KEYS=keys)
    other.manage("restore", str(file), "--checkpoints", str(tar))
    assert (other.data_dir / "checkpoints" / "ab" / "weights.pt").read_bytes() == b"weights" * 1000
    other.password = server.password
    other.start()
    stale = httpx.get(other.url + "/settings", cookies=someone.http.cookies)
    assert stale.status_code == 302, "sessions are not in a backup"
    assert other.get(good).status_code == 200
    assert other.get(revoked).status_code == 401
    assert other.sign_in().http.get("/settings?tab=api-keys").status_code == 200


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A server on DATABASE_URL with keys, dumped; then one of them was revoked, and another one made."""
    folder = tmp_path_factory.mktemp("backup")
    postgres = Postgres(folder / "postgres")
    server = Server(folder / "data", DATABASE_URL=postgres.url, RATE_LIMIT_DEFAULT="unlimited").start()
    server.before, server.stays = server.new_key("before"), server.new_key("stays")
    server.file = folder / "dump"
    server.manage("backup", str(server.file))
    headers = {"Authorization": f"Bearer {server.before}"}
    assert httpx.delete(f"{server.url}/api/api-keys/current", headers=headers).status_code == 204
    server.after = server.new_key("after")
    server.stop(signal.SIGTERM)
    server.count = lambda: postgres.query("SELECT count(*) FROM apikeys_apikey")[0][0]
    server.postgres = postgres
    yield server
    server.stop(signal.SIGTERM)
    postgres.stop()


def refused(server, *arguments, **variables):
    done = Server(server.data_dir, **(server.variables | variables)).manage(*arguments, check=False)
    assert done.returncode
    assert "Traceback" not in done.stderr
    return done.stderr


def test_what_cannot_be_done_says_why_and_leaves_everything_as_it_was(filled):
    file, folder = str(filled.file), filled.file.parent
    (folder / "half").write_bytes(filled.file.read_bytes()[: filled.file.stat().st_size // 2])
    (folder / "none").write_text("DROP TABLE accounts_user;")
    before = filled.postgres.query("SELECT schemaname, count(*) FROM pg_tables GROUP BY 1 ORDER BY 1")
    assert "--replace" in refused(filled, "restore", file)
    other_keys = "k1:" + "A" * 43 + "="
    assert "does not open" in refused(filled, "restore", file, "--replace", API_KEY_ENCRYPTION_KEYS=other_keys)
    for name in ("half", "none", "nothing"):
        assert "pg_restore ended with" in refused(filled, "restore", str(folder / name), "--replace")
    filled.postgres.query("CREATE SCHEMA keyhouse_replaced")
    assert "was broken off" in refused(filled, "restore", file, "--replace")
    filled.postgres.query("DROP SCHEMA keyhouse_replaced")
    assert "exists already" in refused(filled, "backup", file)
    assert "cannot be written" in refused(filled, "backup", str(folder / "nowhere" / "dump"))
    assert [path.name for path in folder.iterdir() if ".part" in path.name] == []
    assert filled.postgres.query("SELECT schemaname, count(*) FROM pg_tables GROUP BY 1 ORDER BY 1") == before
    assert filled.count() == 3


def test_a_database_is_replaced_and_what_was_revoked_since_stays_revoked(filled):
    said = filled.manage("restore", str(filled.file), "--replace").stdout
    assert "1 keys that were revoked after the backup stay revoked." in said
    assert filled.count() == 2
    filled.start()
    assert [filled.get(key).status_code for key in (filled.stays, filled.before, filled.after)] == [200, 401, 401]
