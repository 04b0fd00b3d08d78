"""Small programs in place of shardtune, its launchers, SLURM and ssh, for a supervisor that runs real processes."""

import sys
from pathlib import Path

# As horovodrun over Gloo: every failure becomes status 1, and SIGUSR1 kills it.
LAUNCHER = """
import signal, subprocess, sys
words = sys.argv[sys.argv.index("-np") + 2 :]
child = subprocess.Popen(words)
signal.signal(signal.SIGTERM, lambda *_: child.terminate())
sys.exit(1 if child.wait() else 0)
"""
# As srun: SIGUSR1 is passed on, and so are statuses.
SRUN = """
import signal, subprocess, sys
child = subprocess.Popen(sys.argv[1:])
for number in (signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, lambda number, _: child.send_signal(number))
sys.exit(child.wait())
"""
# As shardtune train: it writes outcome.json, stops on SIGUSR1, and ignores Ctrl-C, which must not reach it.
# TRAINER says what each attempt does.
TRAINER = """
import json, os, signal, socket, sys, time
from pathlib import Path
directory = Path(sys.argv[sys.argv.index("--train_dir") + 1])
directory.mkdir(exist_ok=True)
path = directory / "outcome.json"
attempt = json.loads(path.read_text())["attempt"] + 1 if path.exists() else 1
stories = os.environ["TRAINER"].split(",")
story = stories[min(attempt, len(stories)) - 1]
(directory / "pid").write_text(str(os.getpid()))
if story == "refuses":
    print("shardtune: refused", file=sys.stderr)
    sys.exit(2)
if story == "dies early":
    os.kill(os.getpid(), signal.SIGKILL)
if story == "never begins":
    time.sleep(600)

def write(outcome, **fields):
    path.with_suffix(".new").write_text(json.dumps({"attempt": attempt, "outcome": outcome, **fields}))
    path.with_suffix(".new").replace(path)

def stop(number, frame):
    write("stopped")
    sys.exit(75)

def interrupted(number, frame):
    write("failed", rank=0, error=f"the trainer got {signal.Signals(number).name}")
    sys.exit(1)

signal.signal(signal.SIGUSR1, stop)
signal.signal(signal.SIGINT, interrupted)
signal.signal(signal.SIGTERM, interrupted)
write("running", host=socket.gethostname(), pid=os.getpid())
if story == "runs":
    time.sleep(600)
if story == "is lost":
    os.kill(os.getpid(), signal.SIGKILL)
if story == "fails":
    write("failed", rank=0, error="Training diverged at step 7.")
    sys.exit(1)
write("finished")
"""
# ssh to b works, to c it hangs, and anybody else does not answer. What it was called with is kept.
SSH = """
import os, sys, time
from pathlib import Path
with Path(os.environ["SSH_LOG"]).open("a") as log:
    print(*sys.argv[1:], file=log)
if "c" in sys.argv:
    time.sleep(600)
sys.exit(0 if "b" in sys.argv else 255)
"""
SCONTROL = """
import os, sys
from pathlib import Path
Path(os.environ["SCONTROL_LOG"]).write_text(" ".join(sys.argv[1:]))
"""
PROGRAMS = {"horovodrun": LAUNCHER, "srun": SRUN, "shardtune": TRAINER, "ssh": SSH, "scontrol": SCONTROL}


def install(directory: Path) -> Path:
    """Write the programs into an empty directory, and return it."""
    directory.mkdir()
    for name, text in PROGRAMS.items():
        (directory / name).write_text(f"#!{sys.executable} -S\n{text.lstrip()}")
        (directory / name).chmod(0o755)
    return directory
