"""Asks pip-audit about every package of the lock files.

Ends with 1 if one of them has a known vulnerability, and with 0, saying so, where the data cannot be had.
"""

import json
import subprocess
import sys

from tests.live import ROOT

SECONDS = 180


def main() -> int:
    found = 0
    for lock in ("requirements.lock", "requirements-dev.lock"):
        command = [sys.executable, "-m", "pip_audit", "--requirement", lock, "--require-hashes", "--disable-pip"]
        command += ["--format", "json", "--progress-spinner", "off", "--timeout", "10"]
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
            packages = json.loads(done.stdout)["dependencies"]
        except subprocess.TimeoutExpired:
            print(f"{lock}: no data about vulnerabilities within {SECONDS} s, nothing was audited")
            continue
        except ValueError:
            why = (done.stderr.strip().splitlines() or ["no answer"])[-1]
            print(f"{lock}: no data about vulnerabilities, nothing was audited: {why[:200]}")
            continue
        skipped = [package["name"] for package in packages if "skip_reason" in package]
        bad = [package for package in packages if package.get("vulns")]
        print(f"{lock}: {len(packages) - len(skipped)} packages audited, {len(bad)} vulnerable")
        if skipped:
            print(f"  nothing could be asked about {len(skipped)}, such as {skipped[0]}")
        for package in bad:
            found += 1
            ids = ", ".join(one["id"] for one in package["vulns"])
            print(f"  {package['name']} {package['version']}: {ids}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
