"""Images per second by batch size, of one precision and one way to compile: a part of launch/gpu_check.sh."""

import argparse
import json
import sys

from shardtune.runtime.frameworks import tf
from shardtune.runtime.world import World
from tests.benchmarks.gpu_check.synthetic import SyntheticTraining

# Those that say most come first: a part that runs out of time leaves what it has.
BATCH_SIZES, SMALL_BATCH_SIZES = (64, 256, 128, 32), (2, 4)
OUT_OF_MEMORY = "out of memory"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precision", required=True)
    parser.add_argument("--jit", default="none")
    parser.add_argument("--batch_sizes", type=int, nargs="+")
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    training = SyntheticTraining(World(), options.precision, options.jit, small=options.small)
    rates: dict[int, dict[str, object]] = {}
    has_failed = False
    for batch_size in options.batch_sizes or (SMALL_BATCH_SIZES if options.small else BATCH_SIZES):
        try:
            rates[batch_size] = {**training.measure(batch_size)}
        except tf.errors.ResourceExhaustedError:
            rates[batch_size] = {"error": OUT_OF_MEMORY}
        except tf.errors.OpError as error:  # the next may work
            sys.stderr.write(f"{error}\n")
            rates[batch_size] = {"error": str(error).strip().splitlines()[0][:200]}
            has_failed = True
        sys.stdout.write(json.dumps({"batch_sizes": rates}) + "\n")
        sys.stdout.flush()
    return int(has_failed)


if __name__ == "__main__":
    sys.exit(main())
