"""`python -m tests.faults.hasty MODULE …`: as `python -m MODULE …`, but leases go stale within seconds."""

import runpy
import sys

from shardtune.runtime import lease

HEARTBEAT, STALE = 0.25, 2.5  # a tenth: the machine may be busy

if __name__ == "__main__":
    lease.HEARTBEAT_SECONDS, lease.STALE_SECONDS = HEARTBEAT, STALE
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
