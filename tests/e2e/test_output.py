"""What a driver shows of its workers' output."""

import os
import re
import subprocess
import sys

PROGRAM = """
import narke

narke.init(address="local", num_cpus=1, include_dashboard=False)


@narke.remote
def speak():
    print("spoken")


@narke.remote
class Teller:
    def tell(self):
        print("told")


narke.get([speak.remote(), speak.options(name="special").remote()])
teller = Teller.remote()
narke.get(teller.tell.remote())
"""


def test_each_line_is_shown_under_the_name_of_who_wrote_it(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    # Equal lines of several workers would otherwise be shown once.
    env = {**os.environ, "RAY_DEDUP_LOGS": "0"}
    ended = subprocess.run([sys.executable, program], env=env, capture_output=True, text=True, timeout=60)
    said = set(re.findall(r"\((\w+) pid=\d+\)\S* (\w+)", ended.stdout))
    assert said == {("speak", "spoken"), ("special", "spoken"), ("Teller", "told")}, ended.stderr
